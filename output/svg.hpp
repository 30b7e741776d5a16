#pragma once
/// Markup for inline SVG: escaped text, axes and the few shapes that plots are made of. Well-formed XML throughout.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover::svg {

/// Text for element content and attribute values: & < > " ' become references; what XML cannot hold (control
/// characters, bytes that are no UTF-8) becomes U+FFFD, line ends and tabs spaces.
std::string escaped(std::string_view text);

/// Values low…high lie on pixels from…to (from > to for an axis that grows upwards).
struct Axis {
    double low = 0, high = 1;
    double from = 0, to = 1;

    double operator()(double value) const { return from + (value - low) / (high - low) * (to - from); }
    bool holds(double value) const { return value >= low && value <= high; }
};

struct Vertex {
    double x = 0, y = 0; // px
};

/// A place on an axis, in the axis' values, and what is written there.
struct Tick {
    double value = 0;
    std::string label;
};

/// Exponents of the powers of two, up to 2^63, on an axis of log2: every one, every second, … at least `room` px apart.
std::vector<int> powers_of_two(const Axis& log2, double room);
/// 1, 2, 3, …, or 1, 2, 5, 10, …, or 1, 10, … on an axis of ln µs, as there is room.
std::vector<Tick> time_ticks(const Axis& ln_us);

// ---- shapes; `style` is a class (or several), `title` becomes a tooltip where it is not empty ----

std::string line(Vertex from, Vertex to, std::string_view style);
std::string rect(Vertex corner, double width, double height, std::string_view style, std::string_view title = {});
/// One path through all vertices.
std::string polyline(std::span<const Vertex> vertices, std::string_view style, std::string_view title = {});
/// One path of round dots, which is a tenth of as many circles.
std::string dots(std::span<const Vertex> vertices, std::string_view style);
/// `anchor`: start, middle or end. `content` is escaped here.
std::string text(Vertex at, std::string_view anchor, std::string_view style, std::string_view content);

} // namespace crossover::svg
