package model

import "math"

// readAttention reads the sizes of grouped-query attention. head_dim is used where it is present:
// it is not hidden_size / num_attention_heads in many models.
func readAttention(c *object, hidden int) GQA {
	a := GQA{
		Heads:   c.integer("num_attention_heads", 1, maxHeads),
		KVHeads: c.integer("num_key_value_heads", 1, maxHeads),
	}
	if a.Heads%a.KVHeads != 0 {
		c.fail("num_attention_heads", "is %d, want a multiple of num_key_value_heads %d",
			a.Heads, a.KVHeads)
	}
	if c.has("head_dim") {
		a.HeadDim = c.integer("head_dim", 1, maxHeadDim)
	} else {
		a.HeadDim = max(1, hidden/a.Heads)
		if hidden%a.Heads != 0 {
			c.fail("head_dim", "missing, and hidden_size %d is no multiple of num_attention_heads %d",
				hidden, a.Heads)
		}
	}
	if c.err() == nil && a.HeadDim%2 != 0 {
		c.fail("head_dim", "is %d, want an even number", a.HeadDim)
	}
	a.Scale = float32(1 / math.Sqrt(float64(a.HeadDim)))
	return a
}

// readTheta reads the base of the rotary embedding in both spellings, rope_theta and rope_scaling
// before transformers 5 and rope_parameters since; a file may carry both. Anything that scales or
// narrows the embedding is refused.
func readTheta(c *object) float64 {
	const lowest, highest = 1, 1e12
	refuseRopeScaling(c.child("rope_scaling"), true)
	p := c.child("rope_parameters")
	refuseRopeScaling(p, false)
	if p == nil {
		return c.number("rope_theta", lowest, highest)
	}
	theta := p.number("rope_theta", lowest, highest)
	if c.has("rope_theta") && c.number("rope_theta", lowest, highest) != theta {
		c.fail("rope_theta", "differs from rope_parameters.rope_theta")
	}
	return theta
}

// refuseRopeScaling refuses every kind but the default one. kindRequired: the object is there only
// to scale, so that it must say how.
func refuseRopeScaling(p *object, kindRequired bool) {
	if p == nil {
		return
	}
	found := false
	for _, key := range []string{"rope_type", "type"} {
		if !p.has(key) {
			continue
		}
		found = true
		if kind := p.text(key); kind != "default" {
			p.fail(key, "rope scaling %q is not supported, only \"default\"", kind)
		}
	}
	if !found && kindRequired {
		p.fail("rope_type", "missing")
	}
	if p.has("partial_rotary_factor") && p.number("partial_rotary_factor", 0, 1) != 1 {
		p.fail("partial_rotary_factor", "only 1 is supported")
	}
}
