package dag

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
)

// Node is one box.
type Node struct {
	ID string
	// Label is the first line of the box and Note the second.
	Label, Note string
	Needs       []string // ids of others; those that are not there are left out
	// Group tints the boxes of one name alike; "" has no tint.
	Group string
	// Heavy is drawn with a strong border.
	Heavy bool
}

// measures of the picture, in pixels.
const (
	boxW, boxH = 210, 40
	gapX, gapY = 70, 14
	margin     = 20
	letters    = 30 // that fit into a box
)

var tints = []string{"#fff3d6", "#dff1e4", "#e3ecfb", "#f6e3ee"}

type drawing struct {
	nodes  []Node
	needs  [][]int
	column []int
	row    []int
	rows   int
	cols   int
}

// SVG draws the graph. Nodes that wait for each other in a circle are drawn in the
// first columns.
func SVG(w io.Writer, title string, nodes []Node) error {
	d := &drawing{nodes: nodes, needs: make([][]int, len(nodes)), column: make([]int, len(nodes)), row: make([]int, len(nodes))}
	d.link()
	d.layer()
	d.order()

	return d.write(w, title)
}

func (d *drawing) link() {
	at := map[string]int{}
	for i, n := range d.nodes {
		at[n.ID] = i
	}

	for i, n := range d.nodes {
		for _, id := range n.Needs {
			if j, ok := at[id]; ok && j != i && !slices.Contains(d.needs[i], j) {
				d.needs[i] = append(d.needs[i], j)
			}
		}

		slices.Sort(d.needs[i])
	}
}

// layer puts each node one column to the right of the last that it waits for. More
// rounds than there are nodes would be a circle.
func (d *drawing) layer() {
	for range d.nodes {
		moved := false

		for i := range d.nodes {
			for _, j := range d.needs[i] {
				if d.column[i] <= d.column[j] && d.column[j]+1 < len(d.nodes) {
					d.column[i], moved = d.column[j]+1, true
				}
			}
		}

		if !moved {
			break
		}
	}
}

// order puts the nodes of a column near what they wait for.
func (d *drawing) order() {
	for _, c := range d.column {
		d.cols = max(d.cols, c+1)
	}

	for c := range d.cols {
		var here []int
		middle := map[int]float64{}

		for i := range d.nodes {
			if d.column[i] != c {
				continue
			}
			here = append(here, i)

			for _, j := range d.needs[i] {
				middle[i] += float64(d.row[j]) / float64(len(d.needs[i]))
			}
		}

		slices.SortStableFunc(here, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })

		for r, i := range here {
			d.row[i] = r
			d.rows = max(d.rows, r+1)
		}
	}
}

// implied reports whether node i waits for j by way of another that it waits for.
func (d *drawing) implied(i, j int) bool {
	seen := map[int]bool{}

	var reach func(k int) bool
	reach = func(k int) bool {
		if seen[k] {
			return false
		}
		seen[k] = true

		for _, n := range d.needs[k] {
			if n == j || reach(n) {
				return true
			}
		}

		return false
	}

	for _, k := range d.needs[i] {
		if k != j && reach(k) {
			return true
		}
	}

	return false
}

func (d *drawing) at(i int) (x, y int) {
	return margin + d.column[i]*(boxW+gapX), 2*margin + d.row[i]*(boxH+gapY)
}

func (d *drawing) write(w io.Writer, title string) error {
	b := bufio.NewWriter(w)
	width, height := 2*margin+d.cols*(boxW+gapX)-gapX, 3*margin+d.rows*(boxH+gapY)

	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", max(width, boxW), height, max(width, boxW), height)
	fmt.Fprintf(b, `<title>%s</title>`+"\n"+`<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n"+`<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", html.EscapeString(title), margin, margin+4, html.EscapeString(title))

	for i := range d.nodes {
		for _, j := range d.needs[i] {
			if d.implied(i, j) {
				continue
			}
			x1, y1 := d.at(j)
			x2, y2 := d.at(i)
			x1, y1, y2 = x1+boxW, y1+boxH/2, y2+boxH/2
			fmt.Fprintf(b, `<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#8a94a6"/>`+"\n", x1, y1, x1+gapX/2, y1, x2-gapX/2, y2, x2, y2)
		}
	}
	var groups []string

	for i, n := range d.nodes {
		x, y := d.at(i)
		fill, stroke, wide := "#f4f5f7", "#8a94a6", 1

		if n.Group != "" {
			if !slices.Contains(groups, n.Group) {
				groups = append(groups, n.Group)
			}
			fill = tints[slices.Index(groups, n.Group)%len(tints)]
		}

		if n.Heavy {
			stroke, wide = "#b3261e", 2
		}

		fmt.Fprintf(b, `<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="%s" stroke-width="%d"/>`, html.EscapeString(n.Label+" "+n.Note), x, y, boxW, boxH, fill, stroke, wide)
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" fill="#57606f" font-size="10">%s</text></g>`+"\n", x+8, y+17, html.EscapeString(short(n.Label)), x+8, y+32, html.EscapeString(short(n.Note)))
	}

	fmt.Fprintln(b, "</svg>")

	return b.Flush()
}

// short is a text as far as a box holds it.
func short(s string) string {
	if r := []rune(s); len(r) > letters {
		return string(r[:letters-1]) + "…"
	}

	return s
}
