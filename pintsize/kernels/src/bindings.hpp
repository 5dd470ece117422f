// What every binding file needs: addresses come in as integers, and the GIL is let go while a kernel runs.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

namespace nb = nanobind;

namespace pintsize {

using Address = uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// The plain values by which a table describes itself to its kernels, read in order. Addresses of absent arrays are 0.
class Fields {
 public:
  Fields(nb::tuple fields, size_t count) : fields_(std::move(fields)) {
    if (fields_.size() != count) throw nb::value_error("a table describes itself by another number of values");
  }
  int64_t integer() { return nb::cast<int64_t>(fields_[next_++]); }
  float real() { return static_cast<float>(nb::cast<double>(fields_[next_++])); }
  template <class T>
  T* array() {
    return at<T>(nb::cast<Address>(fields_[next_++]));
  }

 private:
  nb::tuple fields_;
  size_t next_ = 0;
};

using Scratch = std::unique_ptr<float[]>;

inline Scratch scratch_of(int64_t bytes) { return Scratch(bytes ? new float[(bytes + 3) / 4] : nullptr); }

void bind_check(nb::module_& m);
void bind_encode(nb::module_& m);
void bind_packing(nb::module_& m);
void bind_rows(nb::module_& m);
void bind_tables(nb::module_& m);
void bind_descend(nb::module_& m);
void bind_topk(nb::module_& m);
void bind_scan(nb::module_& m);
void bind_scan_bits(nb::module_& m);
void bind_files(nb::module_& m);

}  // namespace pintsize
