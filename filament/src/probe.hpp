// What this processor can do at most, found by trying: the two lines of a roofline.
#pragma once

#include <cstddef>

#include "kernels.hpp"

namespace filament {

struct Peak {
    double bytes, operations;  // a second
};

// Reading `bytes` again and again, as a token reads weights, and multiplying int8 by int8 with all operands at hand (a
// multiplication and an addition are two operations). The best of many passes, half a second in all.
Peak probe(const Kernels& kernels, size_t bytes, size_t threads);

}  // namespace filament
