package lines

import (
	"fmt"
	"slices"
	"strings"

	"drctl/internal/lab/delay"
)

// Outside is the place that is in no region: where customers and people are.
const Outside = "outside"

// Line leads from a place to a server of another one.
type Line struct {
	Viewer string `json:"viewer"` // the place that looks: a region, or Outside
	Server string `json:"server"` // its name: "east/orders/0"
	Place  string `json:"place"`  // where the server is
	Port   int    `json:"port"`   // where the line begins, on loopback
	To     string `json:"to"`     // where it leads, host:port
}

// Name is VIEWER/SERVER.
func (l Line) Name() string { return l.Viewer + "/" + l.Server }

// Address is where it begins.
func (l Line) Address() string { return fmt.Sprintf("127.0.0.1:%d", l.Port) }

// End is a server that lines lead to.
type End struct {
	Name, Place string
	Address     string // host:port, for those beside it
}

// Draw adds the lines that are missing: from every place to every server of another one, each on a port that port chooses.
func Draw(all []Line, places []string, ends []End, port func() (int, error)) ([]Line, error) {
	for _, viewer := range places {
		for _, e := range ends {
			if e.Place == viewer || slices.ContainsFunc(all, func(l Line) bool { return l.Viewer == viewer && l.Server == e.Name }) {
				continue
			}

			n, err := port()
			if err != nil {
				return nil, err
			}
			all = append(all, Line{Viewer: viewer, Server: e.Name, Place: e.Place, Port: n, To: e.Address})
		}
	}

	return all, nil
}

// Reach is the address at which a place finds a server: where its line begins, or else the address for those beside it.
func Reach(all []Line, viewer, server, address string) string {
	for _, l := range all {
		if l.Viewer == viewer && l.Server == server {
			return l.Address()
		}
	}

	return address
}

// The ways of a fault: into what the link names, out of it, both.
const (
	In   = "in"
	Out  = "out"
	Both = "both"
)

// over says which ways of a line a link means: a place (all lines over its border), a server, VIEWER/SERVER, or
// VIEWER/PLACE. in is what goes into what the link names, of a viewer and a server into the server.
func (l Line) over(link string) (in, out direction) {
	viewer, rest, two := strings.Cut(link, "/")

	switch {
	case link == l.Viewer:
		return toViewer, toServer
	case link == l.Place, link == l.Server, two && viewer == l.Viewer && (rest == l.Server || rest == l.Place):
		return toServer, toViewer
	}

	return none, none
}

type direction int

const (
	none direction = iota
	toServer
	toViewer
)

// Means reports whether a link names any of the lines.
func Means(all []Line, link string) bool {
	return slices.ContainsFunc(all, func(l Line) bool { in, _ := l.over(link); return in != none })
}

// under is what a line does under faults.
func (l Line) under(fs []Fault) (s delay.State) {
	for _, f := range fs {
		in, out := l.over(f.Link)
		if in == none {
			continue
		}

		switch f.Do {
		case Cut:
			for _, d := range map[string][]direction{In: {in}, Out: {out}, Both: {in, out}}[f.Way] {
				s.CutToServer = s.CutToServer || d == toServer
				s.CutToClient = s.CutToClient || d == toViewer
			}
		case Slow:
			s.RoundTrip += f.By
		case Lossy:
			s.Loss = 1 - (1-s.Loss)*(1-f.Rate)
		}
	}

	return s
}

// Words say what is wrong with a line; "" when nothing is.
func Words(l Line, fs []Fault) string {
	var out []string
	s := l.under(fs)

	switch {
	case s.CutToServer && s.CutToClient:
		out = append(out, "cut")
	case s.CutToServer:
		out = append(out, "cut to the server")
	case s.CutToClient:
		out = append(out, "cut from the server")
	}

	if s.RoundTrip > 0 {
		out = append(out, "slow by "+s.RoundTrip.String())
	}

	if s.Loss > 0 {
		out = append(out, fmt.Sprintf("loses %.3g %%", 100*s.Loss))
	}

	return strings.Join(out, ", ")
}
