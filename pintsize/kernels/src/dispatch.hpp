// One table of function pointers a family of operations, filled once for each instruction set.
#pragma once

#include <cstdint>

namespace pintsize {

enum class Level { plain = 0, avx2 = 1, avx512 = 2 };

Level best_level();          // what this processor can run
Level level();               // what is in use: the best one, unless forced
void force_level(Level to);  // for tests

}  // namespace pintsize

#define PINTSIZE_JOIN_(a, b) a##_##b
#define PINTSIZE_JOIN(a, b) PINTSIZE_JOIN_(a, b)
// In ops/NAME.cpp: defines the table's accessor for the level that is being compiled.
#define PINTSIZE_TABLE(Type, name) const Type& PINTSIZE_JOIN(name, PINTSIZE_LEVEL)()

// In ops/*.cpp: another family's table, for the level that is being compiled.
#define PINTSIZE_OURS(name) PINTSIZE_JOIN(name, PINTSIZE_LEVEL)()

#if defined(PINTSIZE_LEVEL)
#define PINTSIZE_DECLARE(Type, name) const Type& PINTSIZE_JOIN(name, PINTSIZE_LEVEL)();
#elif defined(PINTSIZE_X86)
#define PINTSIZE_DECLARE(Type, name) \
  const Type& name##_plain();        \
  const Type& name##_avx2();         \
  const Type& name##_avx512();       \
  inline const Type& name() {        \
    switch (level()) {               \
      case Level::avx512: return name##_avx512(); \
      case Level::avx2: return name##_avx2();     \
      default: return name##_plain();             \
    }                                \
  }
#else
#define PINTSIZE_DECLARE(Type, name) \
  const Type& name##_plain();        \
  inline const Type& name() { return name##_plain(); }
#endif
