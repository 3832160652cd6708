package sandboxtest

import "os"

// Size is how much of a long test runs: the first number in every run of the
// suite, the second with DRCTL_TEST_SIZE=nightly (make nightly).
func Size(usual, nightly int) int {
	if os.Getenv("DRCTL_TEST_SIZE") == "nightly" {
		return nightly
	}

	return usual
}
