package sample

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
	for i := k; i < len(logits); i++ {
		// Ids ascend, so an equal logit loses the tie.
		if logits[i] > least {
			heap[0] = key(logits[i], i)
			siftDown(heap, 0)
			least = keyLogit(heap[0])
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
