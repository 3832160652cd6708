// Package observe asks the engine what the workflows of a platform do, and says it
// in the words of readiness: which archivers follow, what fails since when, what
// waits for a worker, and what the scheduled runs came to.
//
// It promises that a question without an answer is said and spoils no other. It
// starts, ends and changes no workflow.
package observe
