// Package ui is what the programs of this module share at the terminal: how a
// command tree is run, interrupted and ended with an exit status, and how
// results and errors are printed.
//
// It promises the same exit statuses everywhere (0 done, 1 failed, 2 wrong
// usage or configuration, 3 partly done, 4 a check failed or an objective was
// missed, 130 interrupted) and the same form of an error, as text and as JSON.
// It knows no command, no configuration and no store, and never ends the
// process itself.
package ui
