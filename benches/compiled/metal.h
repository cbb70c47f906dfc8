// What the kernels use of Metal's language, in CUDA's C++. There are no address spaces: once everything is inlined, the
// compiler sees which memory a reference points to.
#define constant const
#define device
#define threadgroup
#define thread
#define INLINE __device__ __forceinline__

typedef unsigned int uint;

namespace metal {
using ::uint;

template <typename T, int N> struct Numbers;
template <typename T> struct alignas(2 * sizeof(T)) Numbers<T, 2> { T x, y; };
template <typename T> struct Numbers<T, 3> { T x, y, z; };
template <typename T> struct alignas(4 * sizeof(T)) Numbers<T, 4> { T x, y, z, w; };

template <typename T, int N> struct Vector : Numbers<T, N> {
    Vector() = default;
    INLINE explicit Vector(T all) { each([&](int) { return all; }); }
    template <typename U> INLINE explicit Vector(const Vector<U, N>& other) { each([&](int i) { return T(other[i]); }); }
    template <typename... U> INLINE Vector(T x, T y, U... rest) : Numbers<T, N>{x, y, T(rest)...} {}
    INLINE Vector(const Vector<T, 2>& xy, T z, T w) : Vector(xy.x, xy.y, z, w) {}
    INLINE Vector(const Vector<T, 2>& xy, const Vector<T, 2>& zw) : Vector(xy.x, xy.y, zw.x, zw.y) {}
    INLINE Vector(const Vector<T, 3>& xyz, T w) : Vector(xyz.x, xyz.y, xyz.z, w) {}
    INLINE T& operator[](uint i) { return (&this->x)[i]; }
    INLINE const T& operator[](uint i) const { return (&this->x)[i]; }
    INLINE Vector<T, 2> xy() const { return {this->x, this->y}; }
    INLINE Vector<T, 2> zw() const { return {this->z, this->w}; }
    INLINE Vector<T, 3> xyz() const { return {this->x, this->y, this->z}; }
    template <typename F> INLINE Vector& each(F value) {
        #pragma unroll
        for (int i = 0; i < N; i++) (*this)[i] = value(i);
        return *this;
    }
};
using float2 = Vector<float, 2>;
using float3 = Vector<float, 3>;
using float4 = Vector<float, 4>;
using uint2 = Vector<uint, 2>;
using uint3 = Vector<uint, 3>;
using uint4 = Vector<uint, 4>;
using bool2 = Vector<bool, 2>;
using bool4 = Vector<bool, 4>;

#define EACH(op)                                                                                                       \
    template <typename T, int N> INLINE Vector<T, N> operator op(const Vector<T, N>& a, const Vector<T, N>& b) {       \
        return Vector<T, N>().each([&](int i) { return a[i] op b[i]; });                                               \
    }                                                                                                                  \
    template <typename T, int N> INLINE Vector<T, N> operator op(const Vector<T, N>& a, T b) {                         \
        return Vector<T, N>().each([&](int i) { return a[i] op b; });                                                  \
    }                                                                                                                  \
    template <typename T, int N> INLINE Vector<T, N> operator op(T a, const Vector<T, N>& b) {                         \
        return Vector<T, N>().each([&](int i) { return a op b[i]; });                                                  \
    }
EACH(+) EACH(-) EACH(*) EACH(/) EACH(&) EACH(|) EACH(^) EACH(<<) EACH(>>)

// Two numbers of 16 bits.
struct half2 {
    uint bits;
    INLINE explicit half2(const float2& v) { asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(v.y), "f"(v.x)); }
};

// Columns.
struct float4x4 {
    float4 columns[4];
    float4x4() = default;
    INLINE float4x4(float4 a, float4 b, float4 c, float4 d) : columns{a, b, c, d} {}
    INLINE float4& operator[](uint i) { return columns[i]; }
    INLINE const float4& operator[](uint i) const { return columns[i]; }
};
INLINE float4 operator*(const float4x4& m, const float4& v) {
    return m[0] * v.x + m[1] * v.y + m[2] * v.z + m[3] * v.w;
}
INLINE float4x4 operator+(const float4x4& a, const float4x4& b) {
    return {a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]};
}

INLINE uint min(uint a, uint b) { return a < b ? a : b; }
INLINE uint max(uint a, uint b) { return a > b ? a : b; }
INLINE float min(float a, float b) { return fminf(a, b); }
INLINE float max(float a, float b) { return fmaxf(a, b); }
INLINE float abs(float a) { return fabsf(a); }
INLINE float exp(float a) { return expf(a); }
INLINE float log(float a) { return logf(a); }
INLINE float sqrt(float a) { return sqrtf(a); }
INLINE float sign(float a) { return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : 0.0f; }
INLINE float clamp(float a, float low, float high) { return min(max(a, low), high); }
template <typename T, int N> INLINE Vector<T, N> min(const Vector<T, N>& a, const Vector<T, N>& b) {
    return Vector<T, N>().each([&](int i) { return min(a[i], b[i]); });
}
template <int N> INLINE Vector<float, N> fma(const Vector<float, N>& a, const Vector<float, N>& b, const Vector<float, N>& c) {
    return Vector<float, N>().each([&](int i) { return fmaf(a[i], b[i], c[i]); });
}
template <int N> INLINE Vector<float, N> sqrt(const Vector<float, N>& a) {
    return Vector<float, N>().each([&](int i) { return sqrt(a[i]); });
}
template <int N> INLINE float dot(const Vector<float, N>& a, const Vector<float, N>& b) {
    float sum = 0.0f;
    #pragma unroll
    for (int i = 0; i < N; i++) sum += a[i] * b[i];
    return sum;
}
template <typename T, int N> INLINE Vector<T, N> select(const Vector<T, N>& a, const Vector<T, N>& b, const Vector<bool, N>& which) {
    return Vector<T, N>().each([&](int i) { return which[i] ? b[i] : a[i]; });
}
INLINE float simd_shuffle_xor(float a, uint lanes) { return __shfl_xor_sync(0xffffffff, a, lanes); }
template <int N> INLINE Vector<float, N> simd_shuffle_xor(const Vector<float, N>& a, uint lanes) {
    return Vector<float, N>().each([&](int i) { return simd_shuffle_xor(a[i], lanes); });
}
}
using metal::half2;

template <typename To, typename From> INLINE To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From));
    union { From from; To to; } bits{from};
    return bits.to;
}
