package servers

import "testing"

// A port of the platform's own instances is no sandbox's, free or not.
func TestFreePortLeavesTakenOnes(t *testing.T) {
	var tools Binaries
	for p := 14000; p < 31900; p++ {
		tools.Taken = append(tools.Taken, p)
	}

	for range 5 {
		// Of the range only the last hundred are left: a choice may find none.
		if port, err := tools.FreePort(); err == nil && port < 31900 {
			t.Fatalf("port %d is taken", port)
		}
	}
}

// What was chosen a moment ago, and is not in use yet, is not chosen again.
func TestFreePortIsGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 400 {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}

		if seen[port] {
			t.Fatalf("port %d is given twice", port)
		}
		seen[port] = true
	}
}
