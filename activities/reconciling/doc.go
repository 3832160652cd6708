// Package reconciling is the step of a plan that brings stores together that took writes on
// both sides.
package reconciling
