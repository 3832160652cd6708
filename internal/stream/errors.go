package stream

import "fmt"

// errorf makes the plain cause inside a *fail.Error.
func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }
