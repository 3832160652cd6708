package drills

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/targets"
)

// ObjectOptions tune an object check; zero values are defaults.
type ObjectOptions struct {
	Name       string // of the check; "objects that rows name"
	Query      string // its hash goes into the findings
	AllowEmpty bool   // accept that no row names an object
	Parallel   int    // objects read at a time; 8
	// Report is the largest number of damaged objects that get a finding of
	// their own; 20. All are counted.
	Report   int
	Progress targets.Progress
}

// ObjectResult counts what an object check saw.
type ObjectResult struct {
	Rows, Whole, Bytes                        int64
	Missing, Different, Unreadable, Malformed int64
	// Findings are the summary and then the damaged objects, by key.
	Findings []targets.Finding
}

// Failed is the number of rows whose object is not right.
func (r ObjectResult) Failed() int64 { return r.Missing + r.Different + r.Unreadable + r.Malformed }

type objectCheck struct {
	opt   ObjectOptions
	store Objects

	mu  sync.Mutex
	res ObjectResult
}

// RunObjectCheck reads every object that a row names (key, SHA-256 in hex) to
// its end and compares the hash. Memory does not grow with the rows. A missing
// or different object is a failed finding that names the key; an error means
// that the rows or the store could not be read at all.
func RunObjectCheck(ctx context.Context, rows iter.Seq2[Row, error], store Objects, opt ObjectOptions) (ObjectResult, error) {
	start := time.Now()
	opt.Name = cmp.Or(opt.Name, "objects that rows name")
	opt.Parallel, opt.Report = cmp.Or(opt.Parallel, 8), cmp.Or(opt.Report, 20)
	c := &objectCheck{opt: opt, store: store}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.Parallel)

	var rowErr error
	for row, err := range rows {
		if rowErr = err; err != nil || gctx.Err() != nil {
			break
		}

		c.add(func(r *ObjectResult) { r.Rows++ })

		key, sum, err := parseRow(row)
		if err != nil {
			c.bad(key, "a key and a SHA-256", err.Error(), "", &c.res.Malformed)
			continue
		}

		g.Go(func() error { return c.one(gctx, key, sum) })
	}

	if err := g.Wait(); err != nil {
		return c.res, err
	}

	if rowErr == nil {
		rowErr = ctx.Err()
	}

	if rowErr != nil && !answered(rowErr) {
		return c.res, rowErr
	}

	c.finish(start, rowErr)

	return c.res, nil
}

func (c *objectCheck) add(f func(*ObjectResult)) {
	c.mu.Lock()
	defer c.mu.Unlock()

	f(&c.res)
}

// parseRow takes the key and the hash in hex, as text or as bytea prints it.
func parseRow(row Row) (key, sum string, err error) {
	if len(row) < 2 {
		return "", "", fmt.Errorf("the query returns %d columns", len(row))
	}

	if row[0] == nil || *row[0] == "" {
		return "(no key)", "", errors.New("a row without a key")
	}

	key = *row[0]
	if row[1] == nil {
		return key, "", errors.New("a row without a hash")
	}

	sum = strings.ToLower(strings.TrimPrefix(*row[1], `\x`))
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return key, "", fmt.Errorf("%q, which is no SHA-256 in hex", *row[1])
	}

	return key, sum, nil
}

func (c *objectCheck) one(ctx context.Context, key, want string) error {
	r, err := c.store.Open(ctx, key)
	switch {
	case err == nil:
	case fail.Is(err, fail.NotFound):
		c.bad(key, want, "no such object", "", &c.res.Missing)
		return nil
	case ctx.Err() != nil || fail.Retryable(err) || fail.Is(err, fail.Denied):
		return err // says nothing about this object
	default:
		c.bad(key, want, "an unreadable object", err.Error(), &c.res.Unreadable)
		return nil
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	_ = r.Close() // everything was read, or is reported below

	if err != nil {
		if ctx.Err() != nil {
			return err
		}

		c.bad(key, want, "an unreadable object", fmt.Sprintf("after %s: %v", human.Bytes(n), err), &c.res.Unreadable)

		return nil
	}

	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		c.bad(key, want, got, human.Bytes(n), &c.res.Different)
		return nil
	}

	c.add(func(r *ObjectResult) {
		r.Whole++
		r.Bytes += n
		c.opt.Progress.Report("objects", r.Whole, 0)
	})

	return nil
}

// bad counts a damaged object and keeps the first ones by key. So the report does
// not depend on the order in which workers end.
func (c *objectCheck) bad(key, want, got, detail string, count *int64) {
	c.mu.Lock()
	defer c.mu.Unlock()

	*count++
	f := targets.Finding{Check: c.opt.Name, Subject: c.store.String() + " " + key, Severity: targets.Failed,
		Expected: want, Got: got, Detail: detail, Query: QueryHash(c.opt.Query)}

	at, _ := slices.BinarySearchFunc(c.res.Findings, f, func(a, b targets.Finding) int { return cmp.Compare(a.Subject, b.Subject) })
	if at < c.opt.Report {
		c.res.Findings = slices.Insert(c.res.Findings, at, f)
		c.res.Findings = c.res.Findings[:min(len(c.res.Findings), c.opt.Report)]
	}
}

func (c *objectCheck) finish(start time.Time, rowErr error) {
	r := &c.res

	f := targets.Finding{Check: c.opt.Name, Subject: c.store.String(), Severity: targets.Passed, Query: QueryHash(c.opt.Query),
		Expected: human.Count(r.Rows) + " whole objects", Got: human.Count(r.Whole) + " whole objects", Took: time.Since(start)}
	switch {
	case rowErr != nil:
		f.Severity, f.Expected, f.Got, f.Detail = targets.Failed, "rows", "an error", rowErr.Error()
	case r.Failed() > 0:
		f.Severity = targets.Failed

		f.Detail = fmt.Sprintf("%d missing, %d different, %d unreadable, %d malformed rows", r.Missing, r.Different, r.Unreadable, r.Malformed)
		if n := r.Failed() - int64(len(r.Findings)); n > 0 {
			f.Detail += fmt.Sprintf("; %d of them are not listed", n)
		}
	case r.Rows == 0 && !c.opt.AllowEmpty:
		f.Severity, f.Expected, f.Got = targets.Failed, "at least one row", "no row names an object"
	default:
		f.Detail = human.Bytes(r.Bytes) + " read"
	}
	r.Findings = slices.Insert(r.Findings, 0, f)
}

// AnyOf looks for an object in several stores, for a target with several
// buckets: the first that has the key counts.
func AnyOf(stores ...Objects) Objects { return anyOf(stores) }

type anyOf []Objects

func (a anyOf) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	err := error(fail.New(fail.NotFound, "drill: open object", key, "", errors.New("no store to look in")))
	for _, o := range a {
		var r io.ReadCloser
		if r, err = o.Open(ctx, key); !fail.Is(err, fail.NotFound) {
			return r, err
		}
	}

	return nil, err
}

func (a anyOf) String() string {
	names := make([]string, len(a))
	for i, o := range a {
		names[i] = o.String()
	}

	return strings.Join(names, ", ")
}
