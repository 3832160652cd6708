package unit

import (
	"fmt"
	"strconv"
	"strings"
)

// CheckFraction says what is wrong with a part that is written n/t, and how one is written; nothing
// of one that is right or empty.
func CheckFraction(s string) (message, hint string) {
	if s == "" {
		return "", ""
	}
	n, t, _ := strings.Cut(s, "/")
	a, errA := strconv.Atoi(n)

	b, errB := strconv.Atoi(t)
	if errA != nil || errB != nil || a < 1 || b < a || b > 256 { // restic knows no more
		return fmt.Sprintf("%q is not a part", s), "write n/t with n from 1 to t and t up to 256, for example 1/20"
	}

	return "", ""
}
