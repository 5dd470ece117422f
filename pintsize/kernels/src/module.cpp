#include "bindings.hpp"
#include "dispatch.hpp"
#include "parallel.hpp"

#ifdef __linux__
#include <sched.h>
#endif

namespace pintsize {

Level best_level() {
#ifdef PINTSIZE_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
                    __builtin_cpu_supports("bmi2");
  if (!avx2) return Level::plain;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return Level::avx512;
  return Level::avx2;
#else
  return Level::plain;
#endif
}

namespace {

int available_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? static_cast<int>(n) : 1;
}

Level current = best_level();
int thread_count = available_processors();

const char* name_of(Level l) { return l == Level::avx512 ? "avx512" : l == Level::avx2 ? "avx2" : "plain"; }

}  // namespace

Level level() { return current; }
void force_level(Level to) { current = to; }
int threads() { return thread_count; }
void set_threads(int count) { thread_count = count < 1 ? 1 : count; }

}  // namespace pintsize

NB_MODULE(_native, m) {
  using namespace pintsize;
  m.def("level", [] { return name_of(level()); });
  m.def("levels", [] {
    nb::list names;
    for (int l = 0; l <= static_cast<int>(best_level()); ++l) names.append(name_of(static_cast<Level>(l)));
    return names;
  });
  m.def("force_level", [](int index) {
    if (index < 0 || index > static_cast<int>(best_level())) throw nb::value_error("this processor cannot run that level");
    force_level(static_cast<Level>(index));
  });
  m.def("threads", [] { return threads(); });
  m.def("set_threads", [](int count) { set_threads(count); });
  bind_check(m);
  bind_encode(m);
  bind_packing(m);
  bind_rows(m);
  bind_tables(m);
  bind_descend(m);
  bind_topk(m);
  bind_scan(m);
  bind_scan_bits(m);
  bind_files(m);
}
