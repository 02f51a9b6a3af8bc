namespace Vmm.Guest.Tests.Harness;

/// <summary>An error message is one line.</summary>
internal static class OneLine
{
    /// <param name="part">Comes up in the line, after <c>vmm: </c>.</param>
    public static void AssertIs(string part, string error)
    {
        Assert.StartsWith("vmm: ", error, StringComparison.Ordinal);
        Assert.EndsWith("\n", error, StringComparison.Ordinal);
        Assert.True(error.IndexOf('\n', StringComparison.Ordinal) == error.Length - 1, $"more than one line:\n{error}");
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", error, StringComparison.Ordinal);
        Assert.DoesNotMatch("[A-Z][a-z]+_[A-Z][a-z]+", error);      // the key of a message that is not in the binary
        Assert.Contains(part, error, StringComparison.Ordinal);
    }
}
