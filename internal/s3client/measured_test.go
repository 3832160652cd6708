package s3client_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"drctl/internal/s3client"
)

// TestMeasuredBreaksOff: a source that ends early never looks like one that ends, whatever its error,
// and neither does one that has more than was promised.
func TestMeasuredBreaksOff(t *testing.T) {
	promised := func(size int64) func(int64, string) error {
		return func(n int64, _ string) error {
			if n != size {
				return fmt.Errorf("%d bytes", n)
			}

			return nil
		}
	}

	for _, cause := range []error{io.ErrUnexpectedEOF, io.EOF, errors.New("x")} {
		m := s3client.Measure(iotest.DataErrReader(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(cause))), 10, promised(10))

		_, err := io.ReadFull(m, make([]byte, 5))
		if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF || m.Err == nil {
			t.Errorf("%v: %v", cause, err)
		}
	}

	m := s3client.Measure(strings.NewReader("abcdef"), 3, promised(3))
	if _, err := io.ReadAll(m); err == nil || m.Err == nil {
		t.Errorf("too long: %v", err)
	}

	m = s3client.Measure(strings.NewReader("abc"), 3, promised(3))
	if _, err := io.ReadAll(m); err != nil || m.Err != nil || m.SHA256() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("%v %v %s", err, m.Err, m.SHA256())
	}
}
