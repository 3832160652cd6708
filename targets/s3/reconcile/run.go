package reconcile

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/manifest"
	"drctl/targets/reconciliation"
	"drctl/targets/s3/merge"
)

const (
	op = "s3: reconcile"
	// parallel bounds the objects in flight.
	parallel = 8
	// tries is how often an object is looked at that others write meanwhile.
	tries = 3
)

// Object is an object as a listing shows it.
type Object struct {
	Key string
	reconciliation.State
}

// Absence is what a bucket shows of a key that it does not have.
type Absence int

// The absences.
const (
	Unknown Absence = iota // it keeps no versions: it may have been deleted, or never have been there
	Never                  // it was never there
	Deleted                // it was deleted
	Present                // it is there again
)

// Content is an object that is being read.
type Content struct {
	Body io.ReadCloser
	Size int64
	// Entry has its headers and its user metadata.
	Entry manifest.Entry
}

// Bucket is one side. Errors of Open, Sum and Delete are a conflict or not-found when the object is no
// longer the one that was listed; those of Create are a conflict when the key is taken.
type Bucket interface {
	// Name is the region.
	Name() string
	// List lists what is there, in ascending order of the keys' bytes.
	List(ctx context.Context) iter.Seq2[Object, error]
	Absent(ctx context.Context, key string) (Absence, error)
	Stat(ctx context.Context, key string) (o Object, ok bool, err error)
	// Sum is the SHA-256 of its content, in hex.
	Sum(ctx context.Context, o Object) (string, error)
	Open(ctx context.Context, o Object) (Content, error)
	// Create puts an object where there is none, and returns the SHA-256 of what it has read.
	Create(ctx context.Context, key string, c Content) (string, error)
	// Trial shows that Create overwrites nothing.
	Trial(ctx context.Context) error
	Delete(ctx context.Context, o Object) error
}

// Run reconciles two buckets: see reconciliation.Reconciler.
func Run(ctx context.Context, a, b Bucket, req reconciliation.Request) (reconciliation.Result, error) {
	r := &run{a: a, b: b, req: req, out: reconciliation.Result{A: a.Name(), B: b.Name(), DryRun: req.DryRun}}

	if !req.DryRun {
		for _, x := range []Bucket{a, b} {
			if err := x.Trial(ctx); err != nil {
				return r.out, err
			}
		}
	}

	err := r.walk(ctx)
	slices.SortFunc(r.out.Differences, func(x, y reconciliation.Difference) int { return strings.Compare(x.Key, y.Key) })

	return r.out, err
}

type run struct {
	a, b Bucket
	req  reconciliation.Request

	// emptied is the side that has nothing of what both had, while the other has; nil when there is none.
	emptied Bucket

	mu  sync.Mutex
	out reconciliation.Result
}

// item is one key, with what each side and the ancestor have of it.
type item struct {
	key  string
	a, b *Object
	was  *manifest.Entry
}

// both is what two listings have of a key.
type both = merge.Pair[Object, Object]

func key(o *Object) string { return o.Key }

// keys merges the two listings with the manifest of what both had.
func (r *run) keys(ctx context.Context, was io.Reader) iter.Seq2[item, error] {
	now := iter.Seq2[both, error](merge.Join(r.a.List(ctx), r.b.List(ctx), key, key))

	then := iter.Seq2[manifest.Entry, error](func(func(manifest.Entry, error) bool) {})
	if was != nil {
		then = manifest.Entries(was, "manifest of what both had")
	}

	return func(yield func(item, error) bool) {
		for p, err := range merge.Join(now, then, keyOf, func(e *manifest.Entry) string { return e.Key }) {
			switch {
			case err != nil:
				yield(item{}, err)
				return
			case p.Left == nil: // neither has it any more
			case !yield(item{key: keyOf(p.Left), a: p.Left.Left, b: p.Left.Right, was: p.Right}, nil):
				return
			}
		}
	}
}

// look finds out whether a side has nothing of what both had. That is what a bucket looks like that a
// mistake has emptied, or that is another one: nobody meant each of those deletions. It ends
// as soon as both have something.
func (r *run) look(ctx context.Context) error {
	m, err := r.req.Ancestor(ctx)
	if err != nil {
		return err
	}
	defer m.Close()

	var a, b bool

	for x, err := range r.keys(ctx, m) {
		if err != nil {
			return err
		}
		a, b = a || x.was != nil && x.a != nil, b || x.was != nil && x.b != nil

		if a && b {
			return nil
		}
	}

	switch {
	case a:
		r.emptied = r.b
	case b:
		r.emptied = r.a
	}

	return nil
}

func keyOf(p *both) string {
	if p.Left != nil {
		return p.Left.Key
	}

	return p.Right.Key
}

// walk handles every key.
func (r *run) walk(ctx context.Context) error {
	if r.req.Ancestor != nil { // its end is where damage shows: nothing is done by a damaged one
		if err := r.whole(ctx); err != nil {
			return err
		}

		if err := r.look(ctx); err != nil {
			return err
		}
	}

	var was io.Reader
	if r.req.Ancestor != nil {
		m, err := r.req.Ancestor(ctx)
		if err != nil {
			return err
		}
		defer m.Close()
		was = m
	}

	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)

	for x, err := range r.keys(gctx, was) {
		if err != nil {
			g.Go(func() error { return err })
			break
		}

		if gctx.Err() != nil {
			break
		}

		if x.a != nil && x.b != nil && alike(*x.a, *x.b) {
			r.tell(func(o *reconciliation.Result) { o.Objects++; o.Same++ })
			continue
		}

		g.Go(func() error { return r.handle(gctx, x) })
	}

	if err := g.Wait(); err != nil {
		return err
	}

	return ctx.Err()
}

// whole reads the manifest of what both had to its end.
func (r *run) whole(ctx context.Context) error {
	m, err := r.req.Ancestor(ctx)
	if err != nil {
		return err
	}
	defer m.Close()

	for _, err := range manifest.Entries(m, "manifest of what both had") {
		if err != nil {
			return err
		}
	}

	return ctx.Err()
}

// alike reports whether two listings are surely of one content: an ETag is made of the content,
// or means nothing and is another one every time.
func alike(x, y Object) bool { return x.ETag != "" && x.ETag == y.ETag && x.Size == y.Size }

// tell counts, and says how far it is.
func (r *run) tell(count func(*reconciliation.Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()

	count(&r.out)

	if r.req.Progress != nil {
		now := r.out
		now.Differences = nil
		r.req.Progress(now)
	}
}

// list adds a difference to those that are listed. What would be copied leaves room for what people
// have to look at.
func list(o *reconciliation.Result, d reconciliation.Difference) {
	most := reconciliation.Most
	if d.Kind == reconciliation.Copied {
		most /= 2
	}

	if len(o.Differences) < most {
		o.Differences = append(o.Differences, d)
	}
}

// handle does what one key needs. What is wrong with one object stops no other.
func (r *run) handle(ctx context.Context, x item) error {
	r.tell(func(o *reconciliation.Result) { o.Objects++ })

	err := r.settle(ctx, x)

	// While somebody writes it, it is looked at anew.
	for n := 1; n < tries && err != nil && ctx.Err() == nil && changed(err); n++ {
		now, lerr := r.again(ctx, x)
		if lerr != nil {
			err = lerr
			break
		}

		x = now
		err = r.settle(ctx, x)
	}

	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || fail.Retryable(err) && !changed(err):
		return err
	}

	r.tell(func(o *reconciliation.Result) {
		o.Failed++
		list(o, difference(x, reconciliation.Failed, err.Error()))
	})

	return nil
}

// changed reports whether an object is no longer what it was.
func changed(err error) bool { return fail.Is(err, fail.Conflict) || fail.Is(err, fail.NotFound) }

func (r *run) again(ctx context.Context, x item) (item, error) {
	x.a, x.b = nil, nil
	if o, ok, err := r.a.Stat(ctx, x.key); err != nil {
		return x, err
	} else if ok {
		x.a = &o
	}

	if o, ok, err := r.b.Stat(ctx, x.key); err != nil {
		return x, err
	} else if ok {
		x.b = &o
	}

	return x, nil
}

func (r *run) settle(ctx context.Context, x item) error {
	switch {
	case x.a != nil && x.b != nil:
		return r.compare(ctx, x)
	case x.a != nil:
		return r.alone(ctx, x, *x.a, r.a, r.b)
	case x.b != nil:
		return r.alone(ctx, x, *x.b, r.b, r.a)
	}

	return nil
}

func difference(x item, kind, why string) reconciliation.Difference {
	d := reconciliation.Difference{Key: x.key, Kind: kind, Why: why}
	if x.a != nil {
		d.A = &x.a.State
	}

	if x.b != nil {
		d.B = &x.b.State
	}

	return d
}

// compare finds out whether both have the same content: ETags that differ say nothing of objects that
// came in parts, or that a server has encrypted.
func (r *run) compare(ctx context.Context, x item) error {
	same := alike(*x.a, *x.b)

	if !same && x.a.Size == x.b.Size {
		one, err := r.a.Sum(ctx, *x.a)
		if err != nil {
			return err
		}

		other, err := r.b.Sum(ctx, *x.b)
		if err != nil {
			return err
		}
		same = one == other
	}

	r.tell(func(o *reconciliation.Result) {
		if same {
			o.Same++
			return
		}

		o.Conflicts++

		list(o, difference(x, reconciliation.Conflict, "both have it, with different content"))
	})

	return nil
}

// alone handles what one side has and the other has not.
func (r *run) alone(ctx context.Context, x item, o Object, has, lacks Bucket) error {
	if x.was == nil { // it came to be since both parted
		return r.copy(ctx, x, o, has, lacks)
	}

	gone, err := lacks.Absent(ctx, x.key)
	if err != nil {
		return err
	}

	switch {
	case gone == Never, gone == Unknown && r.req.Fill: // it was on its way there when both parted, or somebody says so
		return r.copy(ctx, x, o, has, lacks)
	case gone == Present:
		return fail.Newf(fail.Conflict, op, x.key, "it is there again")
	}

	as, err := r.asItWas(ctx, o, *x.was, has)
	if err != nil {
		return err
	}

	if !as {
		r.tell(func(out *reconciliation.Result) {
			out.Conflicts++
			list(out, difference(x, reconciliation.Conflict, "it was deleted in "+lacks.Name()+", and changed in "+has.Name()))
		})

		return nil
	}

	why := "both had it, and " + lacks.Name() + " has deleted it"
	if gone == Unknown {
		why = "both had it, as far as is known, and " + lacks.Name() + " has it no more"
	}

	d := difference(x, reconciliation.Deleted, why)
	d.In = lacks.Name()

	// Where nothing shows that it was deleted, it may never have been there: that is for people.
	if r.req.Delete && !r.req.DryRun && gone == Deleted && lacks != r.emptied {
		if err := has.Delete(ctx, o); err != nil {
			return err
		}
		d.Done = true
	}

	r.tell(func(out *reconciliation.Result) {
		out.Deletions++
		if d.Done {
			out.Deleted++
		}

		if gone == Unknown {
			out.Doubtful++
		}

		if lacks == r.emptied {
			out.Emptied = lacks.Name()
		}

		list(out, d)
	})

	return nil
}

// asItWas reports whether an object is what it was when both parted.
func (r *run) asItWas(ctx context.Context, o Object, was manifest.Entry, in Bucket) (bool, error) {
	switch {
	case o.Size != was.Size:
		return false, nil
	case o.ETag != "" && o.ETag == was.ETag:
		return true, nil
	}

	sum, err := in.Sum(ctx, o)

	return sum == was.SHA256, err
}

// copy gives an object to the side that lacks it, and reads it back.
func (r *run) copy(ctx context.Context, x item, o Object, from, to Bucket) error {
	d := difference(x, reconciliation.Copied, "")
	d.In = to.Name()

	if r.req.DryRun {
		r.copied(o, from, false, &d)
		return nil
	}

	c, err := from.Open(ctx, o)
	if err != nil {
		return err
	}
	defer c.Body.Close()

	sum, err := to.Create(ctx, x.key, c)
	if err != nil {
		return err
	}

	there, ok, err := to.Stat(ctx, x.key)
	if err == nil && !ok {
		err = fail.Newf(fail.NotFound, op, x.key, "it was copied to %s, and is not there", to.Name())
	}

	if err != nil {
		return err
	}

	got, err := to.Sum(ctx, there)
	if err != nil {
		return err
	}

	if got != sum || there.Size != c.Size {
		// Whose fault it is nobody knows: it may have been written again at once.
		return r.other(x, there, to)
	}

	r.copied(o, from, len(c.Entry.NotKept) > 0, nil)

	return nil
}

// other lists what is not what was copied there.
func (r *run) other(x item, there Object, to Bucket) error {
	if to == r.a {
		x.a = &there
	} else {
		x.b = &there
	}

	r.tell(func(o *reconciliation.Result) {
		o.Conflicts++
		list(o, difference(x, reconciliation.Conflict, "what "+to.Name()+" has is not what was copied there: somebody has written it since, or the store is damaged"))
	})

	return nil
}

func (r *run) copied(o Object, from Bucket, less bool, d *reconciliation.Difference) {
	r.tell(func(out *reconciliation.Result) {
		if from == r.a {
			out.ToB++
		} else {
			out.ToA++
		}
		out.Bytes += o.Size

		if less {
			out.NotKept++
		}

		if d != nil {
			list(out, *d)
		}
	})
}
