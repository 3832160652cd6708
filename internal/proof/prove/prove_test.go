package prove_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"drctl/internal/proof"
	"drctl/internal/proof/prooftest"
	"drctl/internal/proof/prove"
	"drctl/internal/proof/search"
)

// claims are cuts that the prover grants, on which falsehoods are planted.
func claims(t *testing.T, n uint64, try func(h *prooftest.History, p *proof.Policy, c *proof.Cut)) {
	t.Helper()

	for seed := range n {
		for _, make := range []func(uint64) prooftest.Parameters{prooftest.Ordinary, prooftest.Hostile} {
			h := prooftest.Run(seed, make(seed))
			p := h.Policy
			p.Pick = proof.All

			res, err := search.Find(h.Look, p)
			if err != nil {
				t.Fatal(err)
			}

			if len(res.Cuts) > 0 {
				c := res.Cuts[int(seed)%len(res.Cuts)]
				if r := prove.Check(&c, &h.Look, &p); !r.Accepted || len(r.Words) < len(c.Shards) {
					t.Fatalf("seed %d: %+v", seed, r)
				}

				try(h, &p, &c)
			}
		}
	}
}

func copied(c *proof.Cut) *proof.Cut {
	d := *c
	d.Shards, d.Redis = slices.Clone(c.Shards), slices.Clone(c.Redis)
	d.InDoubt, d.Broken = slices.Clone(c.InDoubt), slices.Clone(c.Broken)

	return &d
}

// Every falsehood that is planted in a claim is refused, for the right reason.
func TestFalseClaimsAreRefused(t *testing.T) {
	type plant struct {
		name string
		want []prove.What
		do   func(h *prooftest.History, c *proof.Cut) bool // false: not to be planted here
	}
	plants := []plant{
		{"one commit more", []prove.What{prove.Gap, prove.Position, prove.Half}, func(h *prooftest.History, c *proof.Cut) bool {
			return moved(h, c, +1)
		}},
		{"one commit less", []prove.What{prove.Gap, prove.Position, prove.Half}, func(h *prooftest.History, c *proof.Cut) bool {
			return moved(h, c, -1)
		}},
		{"a place between two commits", []prove.What{prove.Position}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Shards[0].Position--
			return true
		}},
		{"a bound shrunk", []prove.What{prove.Bound}, func(_ *prooftest.History, c *proof.Cut) bool {
			if c.Shards[0].Last == nil {
				return false
			}
			e := *c.Shards[0].Last
			e.Latest--
			c.Shards[0].Last = &e

			return true
		}},
		{"the gap widened", []prove.What{prove.Gap}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Gap.From -= 1e9
			return true
		}},
		{"an instant outside of the gap", []prove.What{prove.Gap}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.T = c.Gap.To
			return true
		}},
		{"a marker that nobody saw", []prove.What{prove.Marker}, func(_ *prooftest.History, c *proof.Cut) bool {
			if len(c.Redis) == 0 {
				return false
			}

			c.Redis[0].Position++

			return true
		}},
		{"a marker outside of the gap", []prove.What{prove.Marker}, otherMarker},
		{"another observer", []prove.What{prove.Shape}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Observer = "somebody"
			return true
		}},
		{"a shard left out", []prove.What{prove.Shape}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Shards = c.Shards[1:]
			return true
		}},
		{"a shard twice", []prove.What{prove.Shape}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Shards[1] = c.Shards[0]
			return true
		}},
		{"another resolution", []prove.What{prove.Untold}, func(_ *prooftest.History, c *proof.Cut) bool {
			if len(c.InDoubt) == 0 {
				return false
			}

			c.InDoubt[0].Action = proof.CommitIt
			if c.InDoubt[0].Group != "" && len(c.InDoubt) > 1 {
				c.InDoubt = c.InDoubt[1:]
			} else {
				c.InDoubt = nil
			}

			return true
		}},
		{"a broken one hidden", []prove.What{prove.Untold}, func(_ *prooftest.History, c *proof.Cut) bool {
			if len(c.Broken) == 0 {
				return false
			}
			c.Broken = c.Broken[1:]

			return true
		}},
		{"no hold", []prove.What{prove.Held}, func(_ *prooftest.History, c *proof.Cut) bool {
			if c.Hold == nil {
				return false
			}
			c.Hold = nil

			return true
		}},
		{"a better grade", []prove.What{prove.Held}, func(_ *prooftest.History, c *proof.Cut) bool {
			c.Grade = proof.Locked
			return true
		}},
	}
	planted := map[string]int{}

	claims(t, 150, func(h *prooftest.History, p *proof.Policy, c *proof.Cut) {
		for _, f := range plants {
			d := copied(c)
			if !f.do(h, d) {
				continue
			}

			planted[f.name]++

			r := prove.Check(d, &h.Look, p)
			if r.Accepted || !slices.ContainsFunc(r.Faults, func(x prove.Fault) bool { return slices.Contains(f.want, x.What) }) {
				t.Fatalf("%s: %+v", f.name, r)
			}
		}
	})

	for _, f := range plants {
		if planted[f.name] < 10 {
			t.Errorf("%s was planted %d times only", f.name, planted[f.name])
		}
	}
}

// moved moves the cut of the first shard by a commit, with honest edges.
func moved(h *prooftest.History, c *proof.Cut, by int) bool {
	s := &h.Look.Stretches[0]

	var commits []*proof.Record
	for i := range s.Records {
		if k := s.Records[i].Kind; k == proof.Commit || k == proof.CommitPrepared {
			commits = append(commits, &s.Records[i])
		}
	}
	at := slices.IndexFunc(commits, func(r *proof.Record) bool { return r.Start >= c.Shards[0].Position })

	if at < 0 || at+by < 0 || at+by >= len(commits) {
		return false
	}
	c.Shards[0].Position = commits[at+by].Start

	return true
}

// otherMarker takes a marker of another time.
func otherMarker(h *prooftest.History, c *proof.Cut) bool {
	if len(c.Redis) == 0 {
		return false
	}

	for _, k := range h.Look.Masters[0].Markers {
		if k.To <= c.Gap.From || k.From >= c.Gap.To {
			c.Redis[0].Marker = k
			return true
		}
	}

	return false
}

// A half global transaction is refused, however the claim is dressed up.
func TestHalfGlobalTransactionIsRefused(t *testing.T) {
	h := prooftest.Run(3, prooftest.Ordinary(3))
	p := h.Policy
	p.Tagged, p.TwoPhase, p.Gated, p.Pick = true, false, false, proof.All

	res, err := search.Find(h.Look, p)
	if err != nil || len(res.Cuts) == 0 {
		t.Fatal(err, res)
	}
	c := &res.Cuts[len(res.Cuts)/2]

	for i := range h.Look.Stretches[0].Records {
		r := &h.Look.Stretches[0].Records[i]
		if r.Kind == proof.Commit && r.Start < c.Shards[0].Position && c.Shards[0].Last.Position == r.Start {
			r.Tags = []string{"planted/2"}
		}
	}

	r := prove.Check(c, &h.Look, &p)
	if r.Accepted {
		t.Fatal("accepted")
	}

	if f := r.Faults[0]; f.What != prove.Half && f.What != prove.Untold || !strings.Contains(f.Text, "planted") {
		t.Fatalf("%+v", r.Faults)
	}
}

// The words of a report name every shard, and are sentences.
func TestWords(t *testing.T) {
	claims(t, 5, func(h *prooftest.History, p *proof.Policy, c *proof.Cut) {
		text := strings.Join(prove.Check(c, &h.Look, p).Words, "\n")
		for _, s := range c.Shards {
			if !strings.Contains(text, s.Shard.String()+": recovery stops at ") {
				t.Errorf("nothing on %s in:\n%s", s.Shard, text)
			}
		}

		t.Log(text)
	})
}

// The checker shares no code with the prover: of its packages it names values
// alone, no function and no method.
func TestIndependence(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	functions := functionsOf(t, "..", "../clock", "../search")

	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}

		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}

		ast.Inspect(parsed, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(functions, s.Sel.Name) {
				if x, ok := s.X.(*ast.Ident); !ok || x.Name != "regexp" && x.Name != "c" {
					t.Errorf("%s uses %s", f.Name(), s.Sel.Name)
				}
			}

			return true
		})
	}
}

// functionsOf are the names of all exported functions and methods of packages.
func functionsOf(t *testing.T, dirs ...string) (names []string) {
	t.Helper()

	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}

		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}

			parsed, err := parser.ParseFile(token.NewFileSet(), dir+"/"+f.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}

			for _, d := range parsed.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && unicode.IsUpper(rune(fn.Name.Name[0])) {
					names = append(names, fn.Name.Name)
				}
			}
		}
	}

	if !slices.Contains(names, "Find") || !slices.Contains(names, "At") {
		t.Fatal(names)
	}

	return names
}
