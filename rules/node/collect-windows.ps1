# Writes the dump of a Windows node into a folder: what the Host Networking Service holds, as JSON in UTF-8 without a
# mark, the version of Windows, and node.json, which describes it. It reads only, and needs the rights of an
# administrator. For Windows PowerShell 5.1 and later.
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [string] $Folder,
    [string] $Name = $env:COMPUTERNAME,
    [ValidateSet('node', 'pod')] [string] $Way = 'node',
    [string] $ToolVersion = 'unknown'
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# The readers of the older form, which AKS puts on its nodes, and those of the newer one.
$Older = @('C:\k\hns.psm1', 'C:\hpc\hns.psm1')
$Newer = @('C:\k\hns.v2.psm1', 'C:\hpc\hns.v2.psm1')
$Files = @(
    @{ Name = 'hns-endpoints.json'; Command = 'Get-HnsEndpoint | ConvertTo-Json -Depth 9' }
    @{ Name = 'hcn-endpoints.json'; Command = 'Get-HnsEndpoint -Version 2 | ConvertTo-Json -Depth 9' }
    @{ Name = 'hcn-networks.json'; Command = 'Get-HnsNetwork -Version 2 | ConvertTo-Json -Depth 9' }
    @{ Name = 'windows.txt'; Command = '[Environment]::OSVersion.Version.ToString()' }
)
$Encoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
$Invariant = [System.Globalization.CultureInfo]::InvariantCulture

function Import-First([string[]] $Paths) {
    # Loads the first module that is there and can be loaded.
    foreach ($path in $Paths) {
        if (Test-Path -LiteralPath $path -PathType Leaf) {
            try {
                Import-Module -Name $path -DisableNameChecking -Scope Global -Force
                return
            }
            catch { Write-Warning -Message "${path}: $($_.Exception.Message)" }
        }
    }
}

function Read-Newer([string] $Reader) {
    # What a reader says in the newer form; one that knows no versions is replaced by one of the newer form.
    if (-not (Get-Command -Name $Reader).Parameters.ContainsKey('Version')) {
        Import-First -Paths $Newer
    }
    if (-not (Get-Command -Name $Reader).Parameters.ContainsKey('Version')) {
        throw "$Reader has no parameter Version: the module of HNS on this node is too old"
    }
    return & $Reader -Version 2
}

function ConvertTo-Listing([object[]] $List) {
    # A list also of a single object, which would not be written as one if it were piped; nothing of no object.
    $given = @($List | Where-Object { $null -ne $_ })
    if ($given.Count -eq 0) { return '' }
    return ConvertTo-Json -InputObject $given -Depth 9
}

function Read-Part([string] $Part) {
    switch ($Part) {
        'hns-endpoints.json' { return ConvertTo-Listing -List @(Get-HnsEndpoint) }
        'hcn-endpoints.json' { return ConvertTo-Listing -List @(Read-Newer -Reader 'Get-HnsEndpoint') }
        'hcn-networks.json' { return ConvertTo-Listing -List @(Read-Newer -Reader 'Get-HnsNetwork') }
        'windows.txt' { return [Environment]::OSVersion.Version.ToString() }
    }
}

function Write-Part([hashtable] $File) {
    # Writes one file, and says what node.json has to say of it.
    $entry = [ordered]@{ name = $File.Name; command = $File.Command; status = 'read'; detail = ''; sha256 = $null }
    $path = Join-Path -Path $Folder -ChildPath $File.Name
    Remove-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
    try {
        $body = Read-Part -Part $File.Name
        if ($body -eq '') {
            $entry.status = 'absent'
            $entry.detail = 'the node has none'
            return $entry
        }
        [System.IO.File]::WriteAllText($path, $body, $Encoding)
        $entry.sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash.ToLowerInvariant()
    }
    catch {
        Remove-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
        $entry.status = 'failed'
        $entry.detail = [string] $_.Exception.Message
    }
    return $entry
}

function Format-Time([datetime] $Time) {
    return $Time.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", $Invariant)
}

function Get-BootTime {
    try { return Format-Time -Time (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime }
    catch { return $null }
}

# The full path: methods of .NET do not know PowerShell's own folder.
$Folder = (New-Item -ItemType Directory -Path $Folder -Force).FullName
# Windows PowerShell adds Count and value to some lists that are written as JSON, unless this is gone.
Remove-TypeData -TypeName System.Array -ErrorAction SilentlyContinue
# Windows may have readers of its own; those of the node's module come before them.
Import-Module -Name HostNetworkingService -DisableNameChecking -ErrorAction SilentlyContinue
Import-First -Paths $Older
$manifest = [ordered]@{
    apiVersion  = 'cilium-migrate/v1alpha1'
    kind        = 'NodeDump'
    toolVersion = $ToolVersion
    name        = $Name.ToLowerInvariant()
    system      = 'windows'
    way         = $Way
    taken       = Format-Time -Time (Get-Date)
    booted      = Get-BootTime
    files       = @($Files | ForEach-Object { Write-Part -File $_ })
}
$text = ConvertTo-Json -InputObject $manifest -Depth 9
[System.IO.File]::WriteAllText((Join-Path -Path $Folder -ChildPath 'node.json'), $text, $Encoding)
