// Package secret reads secrets from where a configuration says that they are: the
// environment, a file, or a command.
//
// It promises that errors name the reference and never the content, that a command gets
// no shell and little time, and that little is read. It never keeps a secret.
package secret
