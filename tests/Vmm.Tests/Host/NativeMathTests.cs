using System.Runtime.InteropServices;

namespace Vmm.Tests.Host;

/// <summary>What the native binary has instead of libm.so.6 (Host/Native/math.c).</summary>
public sealed class NativeMathTests
{
    [Fact]
    public void Whole_parts_are_those_of_the_C_library()
    {
        var random = new Random(1);
        double[] values =
        [
            0, -0.0, 0.5, -0.5, 1, -1, 1.5, -1.5, 4503599627370495.5, 4503599627370496, -9007199254740993, double.MaxValue, double.Epsilon,
            double.PositiveInfinity, double.NegativeInfinity, double.NaN,
            .. Enumerable.Range(0, 100_000).Select(_ => BitConverter.Int64BitsToDouble(random.NextInt64(long.MinValue, long.MaxValue))),
            .. Enumerable.Range(0, 100_000).Select(_ => (random.NextDouble() - 0.5) * Math.ScaleB(1, random.Next(0, 60))),
        ];
        foreach (double value in values)
        {
            Assert.Equal(Bits(LibMCeil(value)), Bits(Ceil(value)));
            (double part, double expected) = (Modf(value, out double whole), LibMModf(value, out double expectedWhole));
            Assert.Equal((Bits(expected), Bits(expectedWhole)), (Bits(part), Bits(whole)));
        }
    }

    [Fact]
    public void What_is_looked_up_is_there()
    {
        Assert.Equal(Math.Pow(2.5, 3.5), Pow(2.5, 3.5));
        Assert.Equal(Math.Sin(1), Sin(1));
        Assert.Equal(Math.Cos(1), Cos(1));
        Assert.Equal(Math.Log(3), Log(3));
    }

    /// <summary>All that are not a number are one.</summary>
    private static long Bits(double value) => double.IsNaN(value) ? long.MinValue : BitConverter.DoubleToInt64Bits(value);

    [DllImport("vmmnative", EntryPoint = "ceil")]
    private static extern double Ceil(double value);

    [DllImport("vmmnative", EntryPoint = "modf")]
    private static extern double Modf(double value, out double whole);

    [DllImport("vmmnative", EntryPoint = "pow")]
    private static extern double Pow(double value, double exponent);

    [DllImport("vmmnative", EntryPoint = "sin")]
    private static extern double Sin(double value);

    [DllImport("vmmnative", EntryPoint = "cos")]
    private static extern double Cos(double value);

    [DllImport("vmmnative", EntryPoint = "log")]
    private static extern double Log(double value);

    [DllImport("libm.so.6", EntryPoint = "ceil")]
    private static extern double LibMCeil(double value);

    [DllImport("libm.so.6", EntryPoint = "modf")]
    private static extern double LibMModf(double value, out double whole);
}
