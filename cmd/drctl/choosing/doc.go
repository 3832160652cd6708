// Package choosing shows people both ways of a failover side by side: it derives the plans of both,
// has them foreseen by what servers and vaults of the configuration say, and prints the table.
//
// It promises that it never fails, and keeps nobody longer than a limit of some seconds: what goes
// wrong is said to be unknown.
package choosing
