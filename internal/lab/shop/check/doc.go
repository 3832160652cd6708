// Package check holds recovered servers against the journal that was kept outside of
// them: what must be there, what must not, and what was lost. Whatever no
// journal has must not be there either.
//
// It shares no code with what it checks: no driver, no vault. Each grade of a cut is
// judged by what it promises, by internal/lab/shop/judge. It never mends and never writes.
package check
