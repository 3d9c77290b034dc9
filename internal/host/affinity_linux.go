package host

import "golang.org/x/sys/unix"

// allowedCPUs are those that this process may run on.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	list := make([]int, 0, set.Count())
	for i := range maxCPUs {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// bind keeps the calling thread on some processors.
func bind(ids ...int) {
	var set unix.CPUSet
	for _, id := range ids {
		set.Set(id)
	}
	_ = unix.SchedSetaffinity(0, &set) // refused: it runs anywhere
}

// Huge asks for huge pages behind memory that was mapped and belongs to no file. Neighbouring
// mappings are one to the kernel, so nothing is gained by aligning small ones.
func Huge(data []byte) {
	if len(data) > 0 {
		_ = unix.Madvise(data, unix.MADV_HUGEPAGE) // a kernel without them: small pages do
	}
}
