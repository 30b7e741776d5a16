#include "kernels/input_pattern.hpp"
#include "kernels/number_formats.hpp"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <vector>

using namespace crossover;

TEST_CASE("the pattern does not change: recorded checks stay comparable") {
    CHECK(input_value(1, 0, 0, 0) == 1.3359375);
    CHECK(input_value(1, 7, 4095, 8191) == 0.3046875);
    CHECK(residual_value(1, 3, 5) == 1.96875);
    CHECK(gamma_value(1, 5) == 0.9921875);
}

TEST_CASE("values are exact in every dtype, inside (-2, 2), and spread as a uniform distribution") {
    int inexact = 0, outside = 0;
    double sum = 0, sum_of_squares = 0;
    std::vector<int> eighths(8);
    const int count = 200'000;
    for (int i = 0; i < count; ++i) {
        const double value = input_value(3, i % 8, i / 1024, i % 1024);
        for (const DType dtype : {DType::bfloat16, DType::float16, DType::float32})
            inexact += rounded(dtype, value) != value;
        outside += std::abs(value) >= 2 || value == 0;
        sum += value;
        sum_of_squares += value * value;
        ++eighths[static_cast<std::size_t>((value + 2) * 2)];
        const double gamma = gamma_value(3, i);
        inexact += rounded(DType::bfloat16, gamma) != gamma || rounded(DType::float16, gamma) != gamma;
        outside += gamma < 0.5 || gamma >= 1.5;
    }
    CHECK(inexact == 0);
    CHECK(outside == 0);
    CHECK(std::abs(sum / count) < 0.01);
    CHECK(std::abs(sum_of_squares / count - 4.0 / 3) < 0.01);
    for (const int share : eighths) CHECK(std::abs(share - count / 8) < count / 80);
}

TEST_CASE("sums of 16 values are exact in fp32 in any order") {
    int inexact = 0;
    for (int token = 0; token < 2000; ++token) {
        std::vector<float> values;
        for (int rank = 0; rank < 15; ++rank) values.push_back(input_value(5, rank, token, 9));
        values.push_back(residual_value(5, token, 9));
        double exact = 0;
        for (const float value : values) exact += value;
        for (int order = 0; order < 3; ++order) {
            float sum = 0;
            for (const float value : values) sum += value;
            inexact += sum != exact;
            std::rotate(values.begin(), values.begin() + 5, values.end());
            std::reverse(values.begin(), values.begin() + 8);
        }
    }
    CHECK(inexact == 0);
}

TEST_CASE("seeds, ranks, tokens and columns give values of their own") {
    const auto equal_share = [](auto&& a, auto&& b) {
        int equal = 0;
        for (int i = 0; i < 4096; ++i) equal += a(i) == b(i);
        return equal / 4096.0;
    };
    const auto base = [](int i) { return input_value(1, 1, 1, i); };
    CHECK(equal_share(base, [](int i) { return input_value(2, 1, 1, i); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return input_value(2, 0, 1, i); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return input_value(1, 2, 1, i); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return input_value(1, 1, 2, i); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return input_value(1, 1, 1, i + 1); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return input_value(1, 1, 0, i + 1); }) < 0.01);
    CHECK(equal_share(base, [](int i) { return residual_value(1, 1, i); }) < 0.01);
}
