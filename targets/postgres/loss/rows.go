package loss

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"drctl/targets/handover"
	"drctl/targets/postgres/wal"
)

const (
	// firstOfUsers is the first number that a server gives to a file of its users'.
	firstOfUsers = 16384
	// maxOpen bounds how many open transactions are counted for.
	maxOpen = 1 << 20
)

// File names the file of a table, as the log does.
type File struct{ Space, Database, File uint32 }

// String is what is said of a table whose name is not known.
func (f File) String() string {
	if f.File < firstOfUsers {
		return "catalogs"
	}

	return fmt.Sprintf("file %d of database %d", f.File, f.Database)
}

// rows counts what was done to the rows of files.
type rows map[File]handover.LostRows

func (r rows) count(f File, x handover.LostRows) {
	sum := r[f]
	sum.Inserted += x.Inserted
	sum.Updated += x.Updated
	sum.Deleted += x.Deleted
	r[f] = sum
}

func (r rows) add(o rows) {
	for f, x := range o {
		r.count(f, x)
	}
}

// changed notes what a record did to rows, under the transaction that wrote it.
func (f *finding) changed(rec wal.Record) {
	c, ok := rec.Change()
	if !ok || rec.XID == 0 {
		return
	}

	at := f.open[rec.XID]
	if at == nil {
		if len(f.open) >= maxOpen {
			return
		}
		at = rows{}
		f.open[rec.XID] = at
	}
	var x handover.LostRows

	switch c.Operation {
	case wal.Inserted:
		x.Inserted = c.Rows
	case wal.Updated:
		x.Updated = c.Rows
	case wal.Deleted:
		x.Deleted = c.Rows
	}

	at.count(File{c.Space, c.Database, c.File}, x)
}

// did is what a transaction did to rows, with its subtransactions. What is prepared
// keeps it until it is decided.
func (f *finding) did(x *wal.Transaction) rows {
	out := rows{}

	for _, id := range append([]uint32{x.XID}, x.Subtransactions...) {
		out.add(f.open[id])
		delete(f.open, id)
	}

	if x.Outcome == wal.Prepared {
		f.open[x.XID] = out
	}

	return out
}

// name fills in what was done to rows, with the names of tables.
func (f *finding) name(ctx context.Context, connect Connect) {
	var files []File
	for x := range f.all {
		if x.File >= firstOfUsers { // the catalogs are no news
			files = append(files, x)
		}
	}

	known := map[File]string{}

	if len(files) > 0 && f.req.New.Address != "" {
		var err error
		if known, err = names(ctx, files, f.req.New, connect); err != nil {
			f.out.Notes = append(f.out.Notes, "names of tables: "+err.Error())
		}
	}

	f.out.Rows = named(f.all, known)
	for i := range f.out.Lost {
		f.out.Lost[i].Rows = named(f.each[i], known)
	}
}

// named puts the counts of one name together, in order of names.
func named(r rows, known map[File]string) (out []handover.LostRows) {
	byName := map[string]handover.LostRows{}

	for f, x := range r {
		name := cmp.Or(known[f], f.String())
		sum := byName[name]
		sum.Table = name
		sum.Inserted += x.Inserted
		sum.Updated += x.Updated
		sum.Deleted += x.Deleted
		byName[name] = sum
	}

	for _, x := range byName {
		out = append(out, x)
	}

	slices.SortFunc(out, func(a, b handover.LostRows) int { return cmp.Compare(a.Table, b.Table) })

	return out
}
