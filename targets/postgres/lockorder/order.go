package lockorder

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// maxOrdered bounds the tables whose order is learned: one statement for each
// of them costs more than one for all.
const maxOrdered = 64

// Order remembers, for each server, which tables to lock first. The zero value
// knows nothing yet. It is safe for concurrent use.
type Order struct {
	mu    sync.Mutex
	first map[string][]string // server -> names, the newest lesson in front
}

// Sort puts the names of tables in the order in which they are to be locked: what
// was learned, then by name.
func (o *Order) Sort(server string, names []string) {
	o.mu.Lock()
	first := o.first[server]
	o.mu.Unlock()
	rank := func(name string) int {
		if i := slices.Index(first, name); i >= 0 {
			return i
		}

		return len(first)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
}

// Learn moves a table to the front.
func (o *Order) Learn(server, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()

	if o.first == nil {
		o.first = map[string][]string{}
	}
	next := slices.DeleteFunc(slices.Clone(o.first[server]), func(n string) bool { return n == name })
	o.first[server] = append([]string{name}, next[:min(len(next), maxOrdered-1)]...)
}

// one is the statement that locks one table, or several with commas between.
func one(name string) string { return "LOCK TABLE " + name + " IN SHARE MODE" }

// Statement locks the tables, of quoted and qualified names, in their order; ""
// for none. It is one, so that one statement_timeout bounds the wait for all of them.
// In a block, for which the server needs plpgsql, its error names the table
// that it waited for.
func Statement(names []string, block bool) string {
	if len(names) == 0 {
		return ""
	}

	if !block || len(names) > maxOrdered {
		return one(strings.Join(names, ", "))
	}

	var b strings.Builder
	for _, n := range names {
		b.WriteString(one(n) + "; ")
	}

	return "DO '" + strings.ReplaceAll("BEGIN "+b.String()+"END", "'", "''") + "'"
}

// WaitedFor is the table that a block's error says was waited for, or "". Where
// is the error's context, which quotes the statement in every language.
func WaitedFor(names []string, where string) string {
	for _, n := range names {
		if strings.Contains(where, `"`+one(n)+`"`) {
			return n
		}
	}

	return ""
}
