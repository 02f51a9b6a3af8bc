using Vmm.Host;

namespace Vmm.Tests.Control;

/// <summary>A test that has another user connect, which only root can arrange.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class OtherUserFactAttribute : FactAttribute
{
    public OtherUserFactAttribute()
    {
        if (LibC.geteuid() != 0 || !File.Exists("/usr/bin/setpriv") || !File.Exists("/usr/bin/perl"))
        {
            Skip = "needs root, setpriv and perl";
        }
    }
}
