package jinja

// expr is an expression node.
type expr interface{}

type (
	constExpr   struct{ value Value }
	nameExpr    struct{ name string }
	tupleExpr   struct{ items []expr }
	listExpr    struct{ items []expr }
	dictExpr    struct{ keys, values []expr }
	getattrExpr struct {
		obj  expr
		name string
	}
	getitemExpr struct{ obj, index expr }
	sliceExpr   struct{ obj, from, to, step expr } // absent bounds are nil
	callExpr    struct {
		fn   expr
		args callArgs
		line int
	}
	filterExpr struct {
		in   expr // nil in filter and set blocks: the body
		name string
		fn   filterFunc
		args callArgs
		line int
	}
	testExpr struct {
		in   expr
		name string
		fn   testFunc
		args callArgs
		line int
	}
	notExpr   struct{ x expr }
	unaryExpr struct {
		op string
		x  expr
	}
	binaryExpr struct {
		op   string
		l, r expr
	}
	logicExpr struct {
		and  bool
		l, r expr
	}
	concatExpr  struct{ parts []expr }
	compareExpr struct {
		first expr
		ops   []compareOp
	}
	condExpr struct{ test, then, other expr } // other is nil without else
)

type compareOp struct {
	op string // == != < <= > >= in notin
	x  expr
}

type callArgs struct {
	pos      []expr
	names    []string // of the keyword arguments
	values   []expr
	star, kw expr // *args and **kwargs, or nil
}

// stmt is a statement node.
type stmt interface{}

type (
	dataStmt   struct{ text text }
	outputStmt struct {
		x    expr
		line int
	}
	ifStmt struct {
		branches []branch // if and elif
		other    []stmt
	}
	forStmt struct {
		target      expr
		iter, where expr
		body, other []stmt
		recursive   bool
		line        int
	}
	setStmt struct {
		target, value expr
		line          int
	}
	setBlockStmt struct {
		target expr
		filter expr // outermost filterExpr, or nil
		body   []stmt
		line   int
	}
	filterStmt struct {
		filter expr
		body   []stmt
		line   int
	}
	withStmt struct {
		targets, values []expr
		body            []stmt
		line            int
	}
	scopeStmt struct{ body []stmt } // {% generation %}
	macroStmt struct{ macro *macroDef }
	callStmt  struct {
		call   *callExpr
		caller *macroDef
	}
	breakStmt    struct{}
	continueStmt struct{}
)

type branch struct {
	test expr
	body []stmt
	line int
}

// nsTarget is the target of an assignment to a namespace's attribute.
type nsTarget struct{ name, attr string }

type macroDef struct {
	name     string
	params   []string
	defaults []expr // of the last len(defaults) params
	body     []stmt
	line     int
	// which of the special names the body reads
	usesCaller, usesVarargs, usesKwargs bool
}
