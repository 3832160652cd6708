package growth

import (
	"fmt"
	"testing"
)

// judged is a test that notes whether it was failed.
type judged struct {
	testing.TB
	said string
}

func (j *judged) Errorf(format string, args ...any) { j.said = fmt.Sprintf(format, args...) }
func (j *judged) Logf(string, ...any)               {}

// Work that grows as its size does is accepted, and work that grows with the square of it is not.
func TestLinear(t *testing.T) {
	sum := 0
	of := func(steps func(n int) int) func(int) func() {
		return func(n int) func() {
			return func() {
				for i := range steps(n) {
					sum += i ^ sum
				}
			}
		}
	}

	j := &judged{TB: t}
	if Linear(j, "work", 1000, 8000, of(func(n int) int { return 2000 * n })); j.said != "" {
		t.Error(j.said)
	}

	if Linear(j, "work", 1000, 8000, of(func(n int) int { return n * n })); j.said == "" {
		t.Error("the square is accepted")
	}
}
