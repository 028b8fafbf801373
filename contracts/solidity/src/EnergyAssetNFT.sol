// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {ERC2981} from "@openzeppelin/contracts/token/common/ERC2981.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721URIStorage} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721URIStorage.sol";
import {MaintenanceLog} from "./asset/MaintenanceLog.sol";
import {ProductionHistory} from "./asset/ProductionHistory.sol";
import {TokenRoles} from "./asset/TokenRoles.sol";
import {IFinalHeaders} from "./interfaces/IFinalHeaders.sol";

/// @title Production assets of a community, each one token: what it is, what it produced, how it was kept.
/// @notice An asset is registered for the owner of the account behind whose meter it stands, and an account has one
/// asset, so that no production is ever shown twice. It can be sold without the account: then the registrar says
/// behind which meter it stands from now on. Fractions of an asset are made by `AssetShares`.
contract EnergyAssetNFT is ERC721URIStorage, ERC2981, AccessManaged, ProductionHistory, MaintenanceLog {
    /// @notice How an asset makes or keeps energy.
    enum Kind {
        SOLAR,
        WIND,
        HYDRO,
        BIOGAS,
        COGENERATION,
        STORAGE,
        OTHER
    }

    /// @notice A production asset: behind which meter of which account it stands, and since when.
    struct Asset {
        Kind kind;
        uint64 capacityW;
        uint32 account;
        uint16 meter;
        uint64 commissionedAtS;
    }

    /// @notice Highest royalty, in hundredths of a percent: what is asked on every sale must not stop the sale.
    uint96 public constant MAX_ROYALTY_BPS = 1_000;

    /// @notice An asset was registered for the owner of its account.
    event AssetRegistered(uint256 indexed tokenId, address indexed owner, Asset asset);
    /// @notice The asset stands behind another meter or was altered.
    event AssetChanged(uint256 indexed tokenId, Asset asset);
    /// @notice The asset is no more; its history stays.
    event AssetRetired(uint256 indexed tokenId);

    /// @notice No account has that number.
    error UnknownAccount(uint32 account);
    /// @notice The account has an asset already.
    error AccountHasAsset(uint32 account, uint256 tokenId);
    /// @notice An asset without capacity produces nothing.
    error NoCapacity();
    /// @notice Commissioned in the future.
    error NotCommissioned(uint64 commissionedAtS);
    /// @notice The royalty is above the highest.
    error RoyaltyTooHigh(uint96 royaltyBps);

    /// @notice How many assets were ever registered. Their numbers begin with 1.
    uint256 public assetCount;

    mapping(uint256 tokenId => Asset asset) private _assets;
    mapping(uint32 account => uint256 tokenId) private _assetOfAccount;

    /// @notice Production is proven by the headers of `settlement_`; `authority` says who registers.
    constructor(IFinalHeaders settlement_, address authority)
        ERC721("Energy Asset", "ASSET")
        AccessManaged(authority)
        ProductionHistory(settlement_)
    {}

    /// @notice Registers an asset for the owner of its account; `uri` describes it. By the registrar.
    function register(Asset calldata asset, string calldata uri) external restricted returns (uint256 tokenId) {
        address owner = settlement.ownerOf(asset.account);
        if (owner == address(0)) revert UnknownAccount(asset.account);
        tokenId = ++assetCount;
        _place(tokenId, asset);
        emit AssetRegistered(tokenId, owner, asset);
        // Without asking the receiver: whoever owns an account of the settlement can hold what stands behind it.
        _mint(owner, tokenId);
        _setTokenURI(tokenId, uri);
    }

    /// @notice Says what an asset is from now on: behind another meter, or altered. Where account or meter differ, its
    /// production goes on from the next checkpoint. By the registrar.
    function change(uint256 tokenId, Asset calldata asset) external restricted {
        _requireOwned(tokenId);
        if (settlement.ownerOf(asset.account) == address(0)) revert UnknownAccount(asset.account);
        Asset memory before = _assets[tokenId];
        delete _assetOfAccount[before.account];
        _place(tokenId, asset);
        if (before.account != asset.account || before.meter != asset.meter) _closeRegister(tokenId);
        emit AssetChanged(tokenId, asset);
        emit MetadataUpdate(tokenId);
    }

    /// @notice Ends an asset and frees its account. By its owner; where it is shared out, it has to be redeemed first.
    function retire(uint256 tokenId) external {
        _requireTokenRole(tokenId, Role.OWNER);
        delete _assetOfAccount[_assets[tokenId].account];
        _closeRegister(tokenId);
        emit AssetRetired(tokenId);
        _burn(tokenId);
    }

    /// @notice Describes an asset anew. By its owner or an `OPERATOR`.
    function setTokenURI(uint256 tokenId, string calldata uri) external {
        _requireOwnerOr(tokenId, Role.OPERATOR);
        _setTokenURI(tokenId, uri);
    }

    /// @notice Asks `royaltyBps` hundredths of a percent for `receiver` on sales of an asset; zero asks nothing.
    /// Markets follow it or not. By the role that this was given to.
    function setRoyalty(uint256 tokenId, address receiver, uint96 royaltyBps) external restricted {
        _requireOwned(tokenId);
        if (royaltyBps > MAX_ROYALTY_BPS) revert RoyaltyTooHigh(royaltyBps);
        if (royaltyBps == 0) _resetTokenRoyalty(tokenId);
        else _setTokenRoyalty(tokenId, receiver, royaltyBps);
    }

    /// @notice What an asset is; also of one that was retired. All zero for a number that was never registered.
    function assetOf(uint256 tokenId) external view returns (Asset memory) {
        return _assets[tokenId];
    }

    /// @notice The asset of an account; zero where it has none.
    function assetOfAccount(uint32 account) external view returns (uint256 tokenId) {
        return _assetOfAccount[account];
    }

    /// @notice Whether this contract speaks that interface.
    function supportsInterface(bytes4 interfaceId)
        public
        view
        override(ERC721, ERC721URIStorage, ERC2981)
        returns (bool)
    {
        return super.supportsInterface(interfaceId);
    }

    /// @notice Where an asset is described.
    function tokenURI(uint256 tokenId) public view override(ERC721, ERC721URIStorage) returns (string memory) {
        return super.tokenURI(tokenId);
    }

    function _update(address to, uint256 tokenId, address auth)
        internal
        override(ERC721, TokenRoles)
        returns (address)
    {
        return super._update(to, tokenId, auth);
    }

    /// @inheritdoc ProductionHistory
    function _meteredAt(uint256 tokenId) internal view override returns (uint32 account, uint64 commissionedAtS) {
        _requireOwned(tokenId);
        Asset memory asset = _assets[tokenId];
        return (asset.account, asset.commissionedAtS);
    }

    function _place(uint256 tokenId, Asset calldata asset) private {
        uint256 other = _assetOfAccount[asset.account];
        if (other != 0) revert AccountHasAsset(asset.account, other);
        if (asset.capacityW == 0) revert NoCapacity();
        if (asset.commissionedAtS > block.timestamp) revert NotCommissioned(asset.commissionedAtS);
        _assets[tokenId] = asset;
        _assetOfAccount[asset.account] = tokenId;
    }
}
