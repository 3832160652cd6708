package postgres

import (
	"slices"
	"strings"
	"sync"
)

// maxOrdered bounds the tables whose order is learned: one statement for each
// of them costs more than one for all.
const maxOrdered = 64

// lockOrder remembers across cuts, for each server, which tables to lock first.
//
// Locks are taken one after the other. A barrier that has one table and waits for
// another, whose writer waits for the first, is in a deadlock that only its own
// time-out ends. That writer has shown in which order the platform writes: the
// table that was waited for comes first from then on. A barrier that locks in the
// order in which transactions write lets them drain.
type lockOrder struct {
	mu    sync.Mutex
	first map[string][]string // server -> names, the newest lesson in front
}

// sort puts the tables in the order in which they are to be locked: what was
// learned, then by name.
func (o *lockOrder) sort(server string, tables []table) {
	o.mu.Lock()
	first := o.first[server]
	o.mu.Unlock()
	rank := func(t table) int {
		if i := slices.Index(first, t.name); i >= 0 {
			return i
		}

		return len(first)
	}
	slices.SortFunc(tables, func(a, b table) int {
		if c := rank(a) - rank(b); c != 0 {
			return c
		}

		return strings.Compare(a.name, b.name)
	})
}

// learn moves a table to the front.
func (o *lockOrder) learn(server, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()

	if o.first == nil {
		o.first = map[string][]string{}
	}
	next := slices.DeleteFunc(slices.Clone(o.first[server]), func(n string) bool { return n == name })
	o.first[server] = append([]string{name}, next[:min(len(next), maxOrdered-1)]...)
}

// lockOne is the statement that locks one table, or several with commas between.
func lockOne(name string) string { return "LOCK TABLE " + name + " IN SHARE MODE" }

// lockAll is one statement that locks the tables in their order, so that one
// statement_timeout bounds the wait for all of them. In a block the server's
// error names the table that it waited for.
func lockAll(tables []table, block bool) string {
	if len(tables) == 0 {
		return ""
	}

	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.name
	}

	if !block || len(tables) > maxOrdered {
		return lockOne(strings.Join(names, ", "))
	}

	for i, n := range names {
		names[i] = lockOne(n) + "; "
	}

	return "DO " + quoteLiteral("BEGIN "+strings.Join(names, "")+"END")
}

// waitedFor is the table that a block's error says was waited for, or "". Where
// is the error's context, which quotes the statement in every language.
func waitedFor(tables []table, where string) string {
	for _, t := range tables {
		if strings.Contains(where, `"`+lockOne(t.name)+`"`) {
			return t.name
		}
	}

	return ""
}
