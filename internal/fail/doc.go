// Package fail is the one error type of drctl: what failed, on which subject,
// of which kind, and what to do next.
//
// It promises that every code has one retry rule (Retryable) and one exit
// status (ExitCode), each in one table. It never logs, never exits and never
// holds a secret: callers put names into errors, not credentials. Errors of the
// operating system and of contexts are mapped here, once (FromOS, FromContext).
package fail
