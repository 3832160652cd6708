// Package hook runs fencing hooks: the user's own programs that cut a server off
// from power or from the network.
//
// It promises that a proof comes only of a program that ended with 0 within its
// limit, that it is run without a shell, and that it is ended when its time is
// up, with what it has started. It believes the program: whether the server is cut
// off is the program's to know.
package hook
