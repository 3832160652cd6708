// Package config reads drctl's one configuration file: strict YAML in,
// resolved plain values out.
//
// It promises that every mistake of a file is reported at once with its line,
// column and, where there is one, a hint; that defaults are applied in one
// place (defaults.go) and shown by Show; that secrets are references until
// Config.Secret is called and are never printed, hashed or logged; and that
// Schema is generated from the same types that the parser reads.
//
// It never connects to anything, never reads the environment but through the
// function handed to Load, and starts nothing but the commands that print secrets.
package config
