using Vmm.Host;
using Vmm.Text;

namespace Vmm.Daemon.Hosting;

/// <summary>Sizes as vmm's options have them: <c>512M</c>, <c>1G</c>, <c>268435456</c>; powers of 1024.</summary>
internal static class Sizes
{
    public static bool TryParse(string text, out long bytes)
    {
        try
        {
            bytes = (long)ByteSize.Parse(text, "");
            return true;
        }
        catch (UsageException)
        {
            bytes = 0;
            return false;
        }
    }

    public static string Format(long bytes) => ByteSize.Format((ulong)bytes);
}
