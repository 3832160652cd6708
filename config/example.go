package config

import _ "embed"

//go:embed example.yaml
var exampleFile []byte

// Example returns the annotated file to begin with, valid but for its secrets and servers.
func Example() []byte { return exampleFile }
