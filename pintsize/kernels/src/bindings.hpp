// What every binding file needs: addresses come in as integers, and the GIL is let go while a kernel runs.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace nb = nanobind;

namespace pintsize {

using Address = uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

void bind_check(nb::module_& m);
void bind_descend(nb::module_& m);
void bind_topk(nb::module_& m);

}  // namespace pintsize
