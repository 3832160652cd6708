package scan

import (
	"fmt"
	"strings"
)

const (
	maxArgs = 1 << 31
	maxBulk = 1 << 40
	// longestName is how much of a command's name is looked at: enough for
	// MULTI, EXEC and DISCARD.
	longestName = 16
)

// Scanner finds the places in a replication stream where it can be cut: after
// a whole command that is not inside a transaction. It keeps no bytes, so a
// stream of any size takes the same memory.
type Scanner struct {
	// Safe is how many bytes of the stream end at the last such place.
	Safe uint64
	// Commands counts whole commands up to Safe.
	Commands uint64

	pos     uint64
	state   scanState
	num     int64
	digits  int
	args    int64 // still to come of the command
	first   bool  // the next argument is the command's name
	left    int64 // bytes of the argument still to come
	name    []byte
	inMulti bool
	pending uint64 // commands inside the open transaction
}

type scanState int

const (
	atType   scanState = iota // '*'
	inCount                   // digits of the count
	countLF                   // '\n' after the count
	atBulk                    // '$'
	inLength                  // digits of a length
	lengthLF                  // '\n' after a length
	inBulk                    // bytes of an argument
	bulkCR
	bulkLF
)

// Write takes the next bytes. Bytes that are not a replication stream are an
// error that names the place; the scanner is then of no further use.
func (s *Scanner) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if s.state == inBulk {
			n := int(min(s.left, int64(len(p)-i)))
			if s.first && len(s.name) < longestName {
				s.name = append(s.name, p[i:i+min(n, longestName-len(s.name))]...)
			}
			s.left -= int64(n)
			s.pos += uint64(n)
			i += n

			if s.left == 0 {
				s.state = bulkCR
			}

			continue
		}

		if err := s.step(p[i]); err != nil {
			return i, err
		}

		i++
	}

	return len(p), nil
}

// step takes one byte outside an argument.
func (s *Scanner) step(c byte) error {
	at := s.pos
	s.pos++

	unexpected := func(want string) error {
		return fmt.Errorf("byte %d of the stream is %q, not %s", at, c, want)
	}
	switch s.state {
	case atType:
		if c != '*' {
			return unexpected("the beginning of a command")
		}
		s.state, s.num, s.digits = inCount, 0, 0
	case inCount, inLength:
		limit := int64(maxArgs)
		if s.state == inLength {
			limit = maxBulk
		}

		switch {
		case c >= '0' && c <= '9' && s.digits < 16:
			s.num, s.digits = s.num*10+int64(c-'0'), s.digits+1
		case c == '\r' && s.digits > 0 && s.num <= limit:
			s.state++
		default:
			return unexpected("a number")
		}
	case countLF:
		if c != '\n' || s.num == 0 {
			return unexpected("the end of a count of at least 1")
		}
		s.args, s.first, s.state = s.num, true, atBulk
		s.name = s.name[:0]
	case atBulk:
		if c != '$' {
			return unexpected("the beginning of an argument")
		}
		s.state, s.num, s.digits = inLength, 0, 0
	case lengthLF:
		if c != '\n' {
			return unexpected("the end of a length")
		}

		if s.left = s.num; s.left == 0 {
			s.state = bulkCR
		} else {
			s.state = inBulk
		}
	case bulkCR:
		if c != '\r' {
			return unexpected("the end of an argument")
		}
		s.state = bulkLF
	case bulkLF:
		if c != '\n' {
			return unexpected("the end of an argument")
		}

		s.first = false
		if s.args--; s.args > 0 {
			s.state = atBulk
		} else {
			s.state = atType
			s.whole()
		}
	}

	return nil
}

// whole ends a command.
func (s *Scanner) whole() {
	s.pending++
	switch name := string(s.name); {
	case strings.EqualFold(name, "multi"):
		s.inMulti = true
	case strings.EqualFold(name, "exec"), strings.EqualFold(name, "discard"):
		s.inMulti = false
	}

	if !s.inMulti {
		s.Safe = s.pos
		s.Commands += s.pending
		s.pending = 0
	}
}
