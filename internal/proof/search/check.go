package search

import (
	"fmt"
	"regexp"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/targets"
)

const opFind = "proof: find"

// checkLook refuses a look that cannot be: it would make a false proof.
func checkLook(l *proof.Look) error {
	bad := func(shard targets.ShardID, format string, args ...any) error {
		return fail.Newf(fail.Invalid, opFind, shard.String(), format, args...)
	}

	if l.Observer == "" {
		return fail.Newf(fail.Invalid, opFind, "", "the look does not name its observer")
	}

	if len(l.Stretches) == 0 {
		return fail.Newf(fail.Invalid, opFind, "", "the look has no stretch of log")
	}

	seen := map[targets.ShardID]bool{}
	for i := range l.Stretches {
		s := &l.Stretches[i]
		if seen[s.Shard] {
			return bad(s.Shard, "the shard is in the look twice")
		}
		seen[s.Shard] = true

		if err := checkStretch(s); err != nil {
			return bad(s.Shard, "%w", err)
		}
	}

	for _, m := range l.Masters {
		if seen[m.Shard] {
			return bad(m.Shard, "the shard is in the look twice")
		}
		seen[m.Shard] = true

		for i, k := range m.Markers {
			if k.To < k.From || i > 0 && (k.From < m.Markers[i-1].From || m.Paused && k.From <= m.Markers[i-1].To) {
				return bad(m.Shard, "marker %d is not in order", i)
			}
		}
	}

	for i, h := range l.Holds {
		if h.To < h.From || i > 0 && h.From <= l.Holds[i-1].To {
			return fail.Newf(fail.Invalid, opFind, "", "hold %d is not in order", i)
		}

		if h.By != proof.ByGate && h.By != proof.ByLocks {
			return fail.Newf(fail.Invalid, opFind, "", "a hold by %q", h.By)
		}
	}

	return checkBase(l)
}

func checkStretch(s *proof.Stretch) error {
	if s.To < s.From {
		return fmt.Errorf("the stretch [%d,%d) is not one", s.From, s.To)
	}

	end := s.From
	for i := range s.Records {
		r := &s.Records[i]
		if r.Start < end || r.End <= r.Start || r.End > s.To {
			return fmt.Errorf("the record [%d,%d) is not in its place", r.Start, r.End)
		}
		end = r.End

		if err := checkRecord(r); err != nil {
			return err
		}
	}

	end = 0
	for i := range s.Earlier {
		r := &s.Earlier[i]
		if r.Start < end || r.End <= r.Start || r.End > s.From {
			return fmt.Errorf("the earlier record [%d,%d) is not in its place", r.Start, r.End)
		}
		end = r.End

		if err := checkRecord(r); err != nil {
			return err
		}
	}

	return nil
}

func checkRecord(r *proof.Record) error {
	switch r.Kind {
	case proof.Commit:
		if r.GID != "" {
			return fmt.Errorf("the commit at %d has a gid", r.Start)
		}
	case proof.CommitPrepared:
	case proof.Prepare, proof.AbortPrepared:
		if r.Kind == proof.Prepare && r.GID == "" {
			return fmt.Errorf("the prepare at %d has no gid", r.Start)
		}
	default:
		return fmt.Errorf("the record at %d is of kind %q", r.Start, r.Kind)
	}

	return nil
}

// checkPolicy refuses a policy that nothing can meet, and compiles its rule for gids.
func checkPolicy(p *proof.Policy) (*regexp.Regexp, error) {
	bad := func(format string, args ...any) error {
		return fail.Newf(fail.Invalid, opFind, "policy", format, args...)
	}

	if (p.Tagged || p.TwoPhase) && p.Limit <= 0 {
		return nil, bad("the limit of half-done global transactions must be positive")
	}

	for _, g := range p.Grades {
		if g != proof.Proven && g != proof.Locked && g != proof.Ordered {
			return nil, bad("there is no grade %q", g)
		}
	}

	switch p.Pick {
	case proof.Widest, proof.Before, proof.Nearest, proof.All, "":
	default:
		return nil, bad("there is no pick %q", p.Pick)
	}

	if p.GIDs == "" {
		return nil, nil
	}

	rule, err := regexp.Compile(p.GIDs)
	if err != nil {
		return nil, fail.New(fail.Invalid, opFind, "policy", "the rule for gids is a regular expression", err)
	}

	return rule, nil
}
