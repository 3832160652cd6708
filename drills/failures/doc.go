// Package failures tells 33 failures that others have had, each as a story of its own in
// stories: what was given, what happened, what drctl does then, and which tests show it.
//
// It promises that every test that a story names is there, and that each story says
// what of it is not shown. It holds no code of the program.
package failures
