package human

import "testing"

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"databse", "database", 1}, {"kitten", "sitting", 3}, {"", "abc", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("%s %s: %d", tc.a, tc.b, got)
		}
	}
}
