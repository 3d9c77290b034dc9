package sample

import "github.com/conclave-serve/conclave/kernels"

// passTokens ids are passed over together where none of them is among the largest:
// a few registers, of which most hold none.
const passTokens = 128

// largest fills heap with the keys of the k <= len(logits) largest logits as a
// min-heap: heap[0] is the least of them.
func largest(heap []uint64, logits []float32, k int) []uint64 {
	heap = heap[:0]
	if k <= 0 {
		return heap
	}
	for i, l := range logits[:k] {
		heap = append(heap, key(l, i))
	}
	for i := k/2 - 1; i >= 0; i-- {
		siftDown(heap, i)
	}
	least := keyLogit(heap[0])
	for first := k; first < len(logits); first += passTokens {
		part := logits[first:min(first+passTokens, len(logits))]
		// Ids ascend, so an equal logit loses the tie.
		if highest, _ := kernels.Highest(part); highest <= least {
			continue
		}
		for i, l := range part {
			if l > least {
				heap[0] = key(l, first+i)
				siftDown(heap, 0)
				least = keyLogit(heap[0])
			}
		}
	}
	return heap
}

// siftDown restores the heap below place i.
func siftDown(heap []uint64, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1] < heap[child] {
			child++
		}
		if heap[i] <= heap[child] {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}
