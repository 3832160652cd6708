package merge

import "iter"

// Pair is a key that the left side, the right side or both have.
type Pair[L, R any] struct {
	Left  *L
	Right *R
}

// Join merges two sequences that ascend strictly by key, without holding more
// than one element of each. It ends with the first error of either side.
func Join[L, R any](left iter.Seq2[L, error], right iter.Seq2[R, error], leftKey func(*L) string, rightKey func(*R) string) iter.Seq2[Pair[L, R], error] {
	return func(yield func(Pair[L, R], error) bool) {
		nextL, stopL := iter.Pull2(left)
		defer stopL()

		nextR, stopR := iter.Pull2(right)
		defer stopR()
		l, errL := advance(nextL)

		r, errR := advance(nextR)
		for {
			if errL != nil {
				yield(Pair[L, R]{}, errL)
				return
			}

			if errR != nil {
				yield(Pair[L, R]{}, errR)
				return
			}

			var p Pair[L, R]
			switch {
			case l == nil && r == nil:
				return
			case r == nil || l != nil && leftKey(l) < rightKey(r):
				p.Left = l
			case l == nil || rightKey(r) < leftKey(l):
				p.Right = r
			default:
				p.Left, p.Right = l, r
			}

			if !yield(p, nil) {
				return
			}

			if p.Left != nil {
				l, errL = advance(nextL)
			}

			if p.Right != nil {
				r, errR = advance(nextR)
			}
		}
	}
}

func advance[T any](next func() (T, error, bool)) (*T, error) {
	v, err, ok := next()
	if !ok || err != nil {
		return nil, err
	}

	return &v, nil
}
