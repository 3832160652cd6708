package config

import _ "embed"

//go:embed example.yaml
var exampleFile []byte

// Example returns the annotated file to begin with. It is valid as it is, but
// for the secrets and servers that it names.
func Example() []byte { return exampleFile }
