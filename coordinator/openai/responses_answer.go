package openai

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/conclave-serve/conclave/coordinator/engine"
	"github.com/conclave-serve/conclave/internal/chat"
)

// responseAnswer makes a response of what its only choice says, and tells of it
// in events if the client asked for a stream.
type responseAnswer struct {
	server   *Server
	x        *exchange
	req      *responseRequest
	response response
	to       *events // nil: no stream
	sequence int     // events sent
	open     *openItem
	begun    map[string]bool // kinds of which there is an item
}

// add takes a delta.
func (a *responseAnswer) add(d delta) error {
	if a.sequence == 0 {
		for _, name := range []string{"response.created", "response.in_progress"} {
			if err := a.sendResponse(name); err != nil {
				return err
			}
		}
	}
	for _, part := range d.parts {
		if err := a.addPart(part); err != nil {
			return err
		}
	}
	if d.finish == "" {
		return nil
	}
	return a.end(d.finish)
}

// addPart adds to the item at hand, or begins one.
func (a *responseAnswer) addPart(part chat.Part) error {
	switch {
	case part.Reasoning != "":
		return a.write(kindReasoning, "rs_", part.Reasoning)
	case part.Content != "":
		return a.write(kindMessage, "msg_", part.Content)
	case part.Call == nil:
		return nil
	}
	if part.Call.Name != "" {
		call := &openItem{kind: kindCall, id: "fc_" + a.server.newID(), name: part.Call.Name}
		call.callID = a.server.callID(part.Call)
		if err := a.begin(call); err != nil {
			return err
		}
	}
	if part.Call.Arguments == "" || a.open == nil {
		return nil
	}
	a.open.text.WriteString(part.Call.Arguments)
	return a.sendItem("response.function_call_arguments.delta",
		itemEvent{Delta: &part.Call.Arguments})
}

// write adds text to the item at hand, which is begun if it is of another kind.
// The line feed with which the parser goes on with a kind is none of an item.
func (a *responseAnswer) write(kind, prefix, text string) error {
	if a.open == nil || a.open.kind != kind {
		if a.begun[kind] {
			text = strings.TrimPrefix(text, "\n")
		}
		if err := a.begin(&openItem{kind: kind, id: prefix + a.server.newID()}); err != nil {
			return err
		}
	}
	a.open.text.WriteString(text)
	return a.sendItem(a.open.textEvent("delta"), itemEvent{Delta: &text}.of(a.open))
}

// begin ends the item at hand and begins another.
func (a *responseAnswer) begin(next *openItem) error {
	if err := a.close(statusCompleted); err != nil {
		return err
	}
	next.index = len(a.response.Output)
	a.open = next
	a.begun[next.kind] = true
	added := itemEvent{Item: next.item(statusInProgress)}
	if err := a.sendItem("response.output_item.added", added); err != nil || next.kind == kindCall {
		return err
	}
	part := next.part()
	return a.sendItem("response.content_part.added", itemEvent{Part: &part}.of(next))
}

// close ends the item at hand, if there is one.
func (a *responseAnswer) close(status string) error {
	item := a.open
	if item == nil {
		return nil
	}
	text := item.text.String()
	if item.kind == kindCall {
		done := itemEvent{Name: item.name, Arguments: &text}
		if err := a.sendItem("response.function_call_arguments.done", done); err != nil {
			return err
		}
	} else {
		if err := a.sendItem(item.textEvent("done"), itemEvent{Text: &text}.of(item)); err != nil {
			return err
		}
		part := item.part()
		done := itemEvent{Part: &part}.of(item)
		if err := a.sendItem("response.content_part.done", done); err != nil {
			return err
		}
	}
	output := item.item(status)
	a.response.Output = append(a.response.Output, output)
	if err := a.sendItem("response.output_item.done", itemEvent{Item: output}); err != nil {
		return err
	}
	a.open = nil
	return nil
}

// end finishes the response and stores it.
func (a *responseAnswer) end(finish engine.Finish) error {
	r := &a.response
	r.Status = statusCompleted
	if finish == engine.FinishLength {
		r.Status, r.Incomplete = statusIncomplete, &incomplete{"max_output_tokens"}
	}
	if err := a.close(r.Status); err != nil {
		return err
	}
	now := a.server.now().Unix()
	r.Completed = &now
	r.Usage = a.x.responseUsage()
	a.storeResponse()
	return a.sendResponse("response." + r.Status)
}

// responseUsage returns the token counts of a finished request.
func (x *exchange) responseUsage() *responseUsage {
	u := &responseUsage{
		Input: x.promptTokens, Output: x.completionTokens,
		Total: x.promptTokens + x.completionTokens,
	}
	u.InputDetails.Cached = x.cachedTokens
	u.OutputDetails.Reasoning = x.reasoningTokens
	return u
}

// storeResponse keeps the response, unless the client wants it forgotten.
func (a *responseAnswer) storeResponse() {
	if !a.req.store {
		return
	}
	items := slices.Clip(a.req.items)
	for _, output := range a.response.Output {
		items = append(items, marshal(output))
	}
	a.server.responses.put(&storedResponse{
		id: a.response.ID, response: marshal(&a.response), items: items,
	})
}

// whole runs g and sends one response.
func (a *responseAnswer) whole(w http.ResponseWriter, r *http.Request, g *generation) *apiError {
	err := a.server.run(r.Context(), a.x, g, func(_ *choice, d delta) error { return a.add(d) })
	if err != nil {
		return a.server.failure(err, g.param)
	}
	writeJSON(w, http.StatusOK, &a.response)
	return nil
}

// stream runs g and sends events. An error before the first one is returned, a
// later one is the last event.
func (a *responseAnswer) stream(w http.ResponseWriter, r *http.Request, g *generation) *apiError {
	a.to = newEvents(w)
	err := a.server.run(r.Context(), a.x, g, func(_ *choice, d delta) error { return a.add(d) })
	if err != nil {
		failure := a.server.failure(err, g.param)
		if !a.to.started {
			return failure
		}
		a.x.err = err
		if r.Context().Err() == nil {
			a.response.Status = statusFailed
			a.response.Error = &responseError{Code: typeServer, Message: failure.message}
			_ = a.sendResponse("response.failed") // if it arrives nowhere, nobody is left to tell
		}
	}
	_ = a.to.control.SetWriteDeadline(time.Time{}) // the connection may serve another request
	return nil
}
