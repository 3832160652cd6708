package search

import "drctl/internal/proof"

// Conditions is how many conditions there are: 1 to Conditions.
const Conditions = int(inHold)

// FindWithout is Find that leaves out a condition.
func FindWithout(look proof.Look, policy proof.Policy, number int) (*proof.Result, error) {
	return find(look, policy, conditions{condition(number): true})
}
