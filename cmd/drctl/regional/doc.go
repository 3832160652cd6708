// Package regional is drctl switchover, failover, failback and recovery: it starts a
// recovery plan between regions, shows how far it has come and what it wants to be told,
// and carries the answers.
//
// It promises that nothing begins before the plan has passed its lint and a person has
// confirmed it, and that a run is "done" only when the engine says that every critical
// step was. It never touches a server or a route itself.
package regional
