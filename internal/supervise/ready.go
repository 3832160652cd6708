package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"drctl/internal/fail"
)

// report is the one line that a child of ours says first on standard output:
// where it serves, or why it never will.
type report struct {
	Address string   `json:"address,omitempty"`
	Error   *problem `json:"error,omitempty"`
}

type problem struct {
	Code    fail.Code `json:"code"`
	Op      string    `json:"op"`
	Subject string    `json:"subject"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

// Report writes the line that ParseReport reads: ready at the address, or, with
// an error, never.
func Report(w io.Writer, address string, err error) {
	r := report{Address: address}
	if err != nil {
		r = report{Error: &problem{Code: fail.CodeOf(err), Op: "start", Message: err.Error()}}

		var e *fail.Error
		if errors.As(err, &e) && e == err {
			*r.Error = problem{Code: e.Code, Op: e.Op, Subject: e.Subject, Message: string(e.Code), Hint: e.Hint}
			if e.Err != nil {
				r.Error.Message = e.Err.Error()
			}
		}
	}
	b, _ := json.Marshal(r) // strings alone
	fmt.Fprintf(w, "%s\n", b)
}

// ParseReport is a Child's ReadyLine for a program that reports in JSON, as
// drctl-engine and drctl worker do.
func ParseReport(line string) (ready bool, address string, err error) {
	var r report
	if json.Unmarshal([]byte(line), &r) != nil {
		return false, "", nil
	}

	if e := r.Error; e != nil {
		return false, "", fail.New(e.Code, e.Op, e.Subject, e.Hint, errors.New(e.Message))
	}

	return r.Address != "", r.Address, nil
}
