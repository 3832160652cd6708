// Package forecast says what past runs and drills say of a plan: how long it will
// take, and whether it has been shown to work.
//
// It promises that
//   - every figure says from how many past runs it comes, and a step of which
//     nothing is known is named;
//   - an edited plan is unverified until a drill of its very hash has passed, and
//     verification ages out.
//
// It does no I/O and reads no clock.
package forecast
